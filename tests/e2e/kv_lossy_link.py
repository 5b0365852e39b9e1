"""Stands between a daemon's KV events and a router, and loses batches when a test says so."""

import threading

import zmq


class LossyLink:
    """A context manager. `endpoint` is for the router; while `drop` is true, batches are lost."""

    def __init__(self, events):
        self.drop = False
        self.passed = self.dropped = 0
        self.context = zmq.Context()
        self.daemon = self.context.socket(zmq.XSUB)
        self.daemon.connect(events)
        self.router = self.context.socket(zmq.XPUB)
        self.router.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.router.bind("tcp://127.0.0.1:0")
        self.endpoint = self.router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.ended = False
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join()
        self.context.destroy(linger=0)

    def _run(self):
        poller = zmq.Poller()
        poller.register(self.daemon, zmq.POLLIN)
        poller.register(self.router, zmq.POLLIN)
        while not self.ended:
            readable = dict(poller.poll(50))
            if self.router in readable:
                self.daemon.send_multipart(self.router.recv_multipart())
            if self.daemon in readable:
                batch = self.daemon.recv_multipart()
                if self.drop:
                    self.dropped += 1
                else:
                    self.router.send_multipart(batch)
                    self.passed += 1
