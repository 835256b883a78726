"""Asks for pages at random times: drive.py URL SECONDS SEED."""

import random
import sys
import threading
import time
import urllib.error
import urllib.request

url, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
luck = random.Random(seed)


def visit(path):
    try:
        urllib.request.urlopen(url + path, timeout=10).read()
    except urllib.error.HTTPError:
        pass  # An answer too; the proxy has recorded it.


start, at, visits = time.monotonic(), 0.0, []
while True:
    at += luck.expovariate(60.0)
    if at >= seconds:
        break
    path = luck.choice(["/", "/about", "/books/%d" % luck.randint(1, 9)])
    time.sleep(max(0.0, start + at - time.monotonic()))
    visits.append(threading.Thread(target=visit, args=(path,)))
    visits[-1].start()
for thread in visits:
    thread.join()
