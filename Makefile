# FaaM's front door. `make` lists what there is; each target installs what it needs.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
# Where rustup puts cargo, also in shells that have not read its profile.
export PATH := $(HOME)/.cargo/bin:$(PATH)

ARGS   ?=
CORPUS := .cache/corpus
SAMPLE := benches/sample
VENV   := target/venv
# The better runner where it is installed, the standard one everywhere else.
CARGO_TEST = $$(cargo nextest --version >/dev/null 2>&1 && echo cargo nextest run || echo cargo test)
# Without root a test tool may be missing: its checks are skipped and named. Never so in CI.
TOOLS_POLICY = $$([ "$${CI:-}" != true ] && [ -s target/missing-tools ] && echo FAAM_ALLOW_MISSING_TOOLS=1 || true)
step = @printf '\n== %s\n' "$(1)"

.PHONY: help run test test-quick test-workspace test-readme bench lint regs regs-check corpus loom clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: ## Build and start the gateway with a simulated card (ARGS="--listen ..." for options)
	@.ci/install build
	cargo build --release --locked --bin faam
	@exec target/release/faam serve $(ARGS)

test: ## Everything that must hold: generated files, tests (loom's too), the README's commands
	@.ci/install build test
	@$(MAKE) regs-check
	@$(MAKE) corpus
	@$(MAKE) test-workspace
	@$(MAKE) test-readme
	@[ ! -s target/missing-tools ] || echo "Passed, but not checked for want of: $$(tr '\n' ' ' <target/missing-tools)"

test-quick: ## The workspace's tests on the small sample
	@.ci/install build
	$(call step,tests of the workspace on $(SAMPLE))
	@env $(TOOLS_POLICY) FAAM_CORPUS=$(CURDIR)/$(SAMPLE) $(CARGO_TEST) --workspace --locked

test-workspace:
	$(call step,tests of the workspace)
	@env $(TOOLS_POLICY) $(CARGO_TEST) --workspace --locked
	$(call step,examples in the documentation)
	@cargo test --workspace --locked --doc --quiet

test-readme:
	$(call step,the README's commands)
	@cargo test --locked -p faam-gateway --test readme -- --ignored --nocapture

bench: ## Criterion benches, then the ratio table over the corpus (ARGS="-- ring" for some)
	@.ci/install build test
	@$(MAKE) corpus
	$(call step,benches)
	@cargo bench --locked -p faam-benches --bench '*' $(ARGS)
	$(call step,ratios of the card's levels)
	@if [ -f $(CORPUS)/SHA256SUMS ]; then cargo run --release --locked --quiet -p faam-benches --bin ratios -- --corpus $(CORPUS); \
	else echo "skipped: no corpus"; fi

# A check links nothing, so for aarch64 no C compiler is needed: it is `true`.
lint: ## Format, clippy, documentation, licences, scripts: a warning is an error
	@.ci/install build lint
	$(call step,rustfmt)
	@cargo fmt --all --check
	$(call step,clippy)
	@cargo clippy --workspace --all-targets --locked -- -D warnings
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
	@if command -v shellcheck >/dev/null; then shellcheck --severity=warning .ci/run .ci/install benches/corpus.sh; \
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

corpus: ## Fetch the corpus that ratios and round trips are measured on (145 MB, kept in .cache)
	$(call step,corpus)
	@benches/corpus.sh $(CORPUS) || echo "skipped: no whole corpus in $(CORPUS); tests go on with $(SAMPLE)"

loom: ## The rings' and doorbells' memory ordering, exhaustively
	$(call step,loom: rings and shadow doorbells)
	@cargo test --locked -p faam-driver --test loom

clean: ## Remove what was built (the corpus and ./data stay)
	cargo clean
