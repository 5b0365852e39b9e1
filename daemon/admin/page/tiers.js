// The tiers from the fastest on, by the names that documents have.

export const TITLES = {device: 'Device', host: 'Host memory', disk: 'Disk', remote: 'Remote cache'};
export const SHORT = {device: 'device', host: 'host', disk: 'disk', remote: 'remote'};  // for narrow columns
export const PLACES = {device: 'on the device', host: 'in host memory', disk: 'on the disk',
                       remote: 'in the remote cache'};
