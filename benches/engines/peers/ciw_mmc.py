"""M/M/c in Ciw: prints events per second of processor time, and the mean wait."""

import sys
import time

import ciw

workers, utilization, requests = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
network = ciw.create_network(
    arrival_distributions=[ciw.dists.Exponential(utilization * workers)],
    service_distributions=[ciw.dists.Exponential(1.0)],
    number_of_servers=[workers],
)
ciw.seed(1)
simulation = ciw.Simulation(network)
begun = time.process_time()
simulation.simulate_until_max_customers(requests)
took = time.process_time() - begun
waits = [record.waiting_time for record in simulation.get_all_records()]
print(2 * len(waits) / took, sum(waits) / len(waits))
