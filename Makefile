# `make demo` runs the main job, `make test` every test. Both install what they need.

DEMO_OUT ?= prophecy-demo

.PHONY: demo test lint trials engines oracles router api

demo:
	@.ci/require 'the demo' gcc libc6-dev make
	cargo build --release --locked -p prophecy-cli -p mesh
	rm -rf $(DEMO_OUT)
	target/release/prophecy demo --out $(DEMO_OUT)

# The sample systems of the tests are real servers, from Debian and from PyPI.
test:
	@.ci/require 'the tests' gcc libc6-dev make procps python3 python3-venv nginx-light haproxy postgresql nodejs chromium prometheus faketime
	@.ci/venv
	cargo build --workspace --bins --locked
	PROPHECY_PYTHON=$(CURDIR)/.venv/bin/python cargo test --workspace --locked

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Draws deployments, forecasts each, carries it out for real, and prints the scoreboard. An interrupted
# campaign goes on where it was: `make trials N=20 SEED=1`.
N ?= 20
SEED ?= 1
trials:
	@.ci/require 'the trials' gcc libc6-dev make
	cargo build --release --locked -p prophecy-cli -p mesh -p prophecy-trials
	target/release/trials run --count $(N) --seed $(SEED)

# The event engine beside NeXosim, SimPy and Ciw on the same models, in one run.
engines:
	@.ci/require 'the engines' gcc libc6-dev make python3 python3-venv
	python3 -m venv target/engines-venv
	target/engines-venv/bin/pip install --quiet --disable-pip-version-check simpy ciw
	cd benches/engines && PROPHECY_PYTHON=../../target/engines-venv/bin/python cargo run --release --locked --bin engines

# Closed forms in the simulated 99 % interval, at half a percent.
oracles:
	cd benches/engines && cargo run --release --locked --bin oracles

# The router of rollouts beside HAProxy, on the same cores in one run.
router:
	@.ci/require 'the router' gcc libc6-dev make haproxy nginx-light wrk util-linux
	cargo build --release --locked -p prophecy-cli
	cd benches/router && cargo run --release --locked -- ../../target/release/prophecy

# What the control plane answers per second on SQLite, and the first view of the dashboard with 10,000 predictions.
api:
	@.ci/require 'the benchmark of the API' gcc libc6-dev make curl wrk
	cargo build --release --locked -p prophecy-cli
	cargo build --release --locked -p prophecy-control-plane --example fill
	benches/control-plane/run
