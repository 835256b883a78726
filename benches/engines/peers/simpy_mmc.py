"""M/M/c in SimPy: prints events per second of processor time, and the mean wait."""

import random
import sys
import time

import simpy

workers, utilization, requests = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
luck = random.Random(1)
waits = []


def request(env, station):
    arrived = env.now
    with station.request() as turn:
        yield turn
        waits.append(env.now - arrived)
        yield env.timeout(luck.expovariate(1.0))


def arrivals(env, station):
    for _ in range(requests):
        yield env.timeout(luck.expovariate(utilization * workers))
        env.process(request(env, station))


env = simpy.Environment()
env.process(arrivals(env, simpy.Resource(env, workers)))
begun = time.process_time()
env.run()
took = time.process_time() - begun
print(2 * requests / took, sum(waits) / len(waits))
