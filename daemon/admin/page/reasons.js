// Why prompt tokens were computed, in words, and what an operator can do about it.

export const REASONS = {
  never_seen: ['never seen', 'No prompt began like this before. Nothing to do, or share longer prefixes.'],
  evicted_device: ['evicted from the device', 'The device cache was too small: enlarge --device-cache or ' +
                   'add a lower tier. The bars below say what that would find.'],
  evicted_host: ['evicted from host memory', 'Enlarge --host-cache, or add a disk tier.'],
  evicted_disk: ['evicted from the disk', 'Enlarge --disk-cache.'],
  evicted_remote: ['dropped by the remote cache', 'Give the store of --remote-cache more memory.'],
  block_tail: ['end of a block', 'The last tokens of prompts, which fill no block. Normal.'],
  other_tenant: ['another tenant has it', 'Tenants share nothing. Give requests of one team one tenant.'],
  other_model: ['another model has it', 'The disk has it of another model, or of another form of this one, ' +
                'such as another --kv-dtype. Normal after such a change.'],
  expired: ['too old on the disk', 'Records outlived --disk-max-age.'],
  corrupt: ['damaged', 'A copy was damaged: look at the disk and its log.'],
  load_slower: ['loading is slower', 'A lower tier had it, but computing was faster, or the load failed: ' +
                'see --load-policy and the disk.'],
  template_diverged: ['chat template differs', 'The template writes earlier turns otherwise than before.'],
  disabled: ['cache not read', 'The request or --no-prefix-cache said so.'],
};

export function wordsFor(reason) {
  return (REASONS[reason] ?? [reason])[0];
}
