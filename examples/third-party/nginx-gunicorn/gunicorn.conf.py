"""How gunicorn runs the library: as most do, with synchronous workers."""

import os

bind = "127.0.0.1:" + os.environ["PORT"]
workers = int(os.environ["WORKERS"])
worker_class = "sync"
worker_tmp_dir = os.environ["DATA"]
graceful_timeout = 1
# Newer releases listen for commands on a socket in the home directory; nobody gives any here.
control_socket_disable = True
