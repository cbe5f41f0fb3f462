# The whole story, one target a stage. `make demo` and `make test` need nothing but Python 3.11+, make and a package index.
#   make data train-qwen CORPUS=cluener MODEL=qwen2-7b && make serve eval

CORPUS ?= cluener#      cluener | tcm | demo | any data/corpora/*.yaml
MODEL  ?= qwen2-7b#     qwen2-7b | qwen2.5-7b | qwen2.5-0.5b | chatglm3-6b | nano
METHOD ?= lora#         a file of recipes/MODEL: lora | p_tuning | prefix_tuning
SPLIT  ?= $(if $(filter cluener,$(CORPUS)),dev,test)# CLUENER publishes no gold for its test split
RAW    ?=#              folder with raw files, instead of downloading them
FORM   ?=#              answer form of the training files: a module of tools/ner_data/answers (default: json_list)
PORT   ?= 8000
ARGS   ?=#              key=value overrides for llamafactory-cli
DTYPE  ?=#              half: serve on cards without bf16
ACCELERATOR ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
PYTHON ?= $(firstword $(shell for p in python3.11 python3.12 python3.13 python3; do \
            $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,14))' 2>/dev/null && echo $$p; done))
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

METHOD_FROM := $(firstword $(origin METHOD))
override CORPUS := $(strip $(CORPUS))
override MODEL := $(strip $(MODEL))
override METHOD := $(strip $(METHOD))
NAME    = $(MODEL)-$(METHOD)-$(CORPUS)
RECIPE  = recipes/$(MODEL)/$(METHOD).yaml
ADAPTER = saves/$(MODEL)/$(METHOD)/$(CORPUS)
WEIGHTS = $(if $(filter nano,$(MODEL)),data/nano,models/$(MODEL)$(if $(filter chatglm3-6b,$(MODEL)),-glm))
BASE    = $(notdir $(WEIGHTS))
# A CPU without bf16 instructions trains in bf16 over ten times slower than in float32.
CPU_ARGS = $(if $(filter cpu,$(ACCELERATOR)),bf16=false infer_dtype=float32)
# glibc gives every large tensor back to the kernel and takes it anew: keeping them saves a sixth of the time on a CPU.
CPU_ENV  = $(if $(filter cpu,$(ACCELERATOR)),MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_MMAP_MAX_=0)
TORCH    = $(if $(filter cpu,$(ACCELERATOR)),requirements/torch-cpu.txt)

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
export AUTOWRAPT_BOOTSTRAP := llamafactory_ner
export TOKENIZERS_PARALLELISM := false

.PHONY: help data download train-qwen train-chatglm3 train merge preview serve stop eval report demo run-demo nano test test-all lint lock clean need-gpu

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# --- stages ----------------------------------------------------------------------------------------------------------

data: .venv/.ready ## raw files -> data/gold -> data/alpaca, registered in dataset_info.json (CORPUS, RAW, FORM)
	@$(if $(RAW),,.venv/bin/ner-data fetch $(CORPUS))
	@.venv/bin/ner-data convert $(CORPUS) $(if $(RAW),--raw $(RAW))
	@.venv/bin/ner-data alpaca $(CORPUS) $(if $(FORM),--form $(FORM))

download: .venv-train/.ready ## bring a base model from ModelScope into models/MODEL
	@$(if $(filter nano,$(MODEL)),echo "nano ships with the repository: data/nano",.venv-train/bin/ner-model download $(MODEL))
	@$(if $(filter chatglm3-6b,$(MODEL)),test -d $(WEIGHTS) || .venv-train/bin/ner-model convert-chatglm3 models/chatglm3-6b $(WEIGHTS))

train-qwen: train ## fine-tune MODEL on CORPUS with METHOD through llamafactory-cli (ARGS="key=value …" overrides)

train: need-gpu .venv-train/.ready ## what both run: llamafactory-cli on recipes/MODEL/METHOD.yaml
	@test -f $(RECIPE) || { echo "$(RECIPE): no such recipe; there are: $$(echo recipes/*/*.yaml)" >&2; exit 2; }
	@test -f data/alpaca/$(CORPUS)_train.json || $(MAKE) data
	@test -f $(WEIGHTS)/config.json || $(MAKE) download
	@$(CPU_ENV) .venv-train/bin/llamafactory-cli train $(RECIPE) dataset=$(CORPUS)_train output_dir=$(ADAPTER) $(CPU_ARGS) $(ARGS)
	@cp data/alpaca/$(CORPUS).prompt.json $(ADAPTER)/ner_prompt.json
	@echo "adapter: $(ADAPTER)"

train-chatglm3: ## the same for chatglm3-6b; METHOD=prefix_tuning (the default), p_tuning or lora
	@$(MAKE) train MODEL=chatglm3-6b METHOD=$(if $(filter command environment,$(METHOD_FROM)),$(METHOD),prefix_tuning)

need-gpu:
	@if [[ $(ACCELERATOR) = cpu && $(MODEL) =~ [0-9]b$$ && ! $(MODEL) =~ 0\.5b$$ ]]; then \
	  echo "$(MODEL) needs a GPU, and no NVIDIA driver answers here; \`make demo\` shows the whole chain on a CPU" >&2; exit 2; fi

preview: .venv-train/.ready ## print what the model sees of the recipe's data, and which part carries the loss
	@.venv-train/bin/ner-data preview $(RECIPE) dataset=$(CORPUS)_train $(ARGS)

merge: .venv-train/.ready ## merge the LoRA adapter into its base: models/MODEL-METHOD-CORPUS
	@.venv-train/bin/llamafactory-cli export recipes/$(MODEL)/merge.yaml adapter_name_or_path=$(ADAPTER) \
	  export_dir=models/$(NAME) $(ARGS)

serve: .venv-serve/.ready ## start vLLM with the base model and the adapter on 127.0.0.1:PORT
	@.venv-serve/bin/ner-model serve $(ADAPTER) --port $(PORT) $(if $(strip $(DTYPE)),--dtype $(DTYPE))

eval: .venv/.ready ## ask the server for every record of SPLIT, print the label table
	@.venv/bin/ner-eval predict --model $(NAME) --adapter $(ADAPTER) --corpus $(CORPUS) --split $(SPLIT) \
	  --base-url http://127.0.0.1:$(PORT)/v1 --run $(NAME)-$(SPLIT)
	@.venv/bin/ner-eval score runs/$(NAME)-$(SPLIT)

report: .venv/.ready ## runs/NAME-SPLIT/report.html: figures, errors, confusions (COMPARE=another run)
	@.venv/bin/ner-eval report runs/$(NAME)-$(SPLIT) $(if $(COMPARE),--compare $(COMPARE))

stop: ## stop the server that `make serve` started
	@if [ -x .venv-serve/bin/ner-model ]; then .venv-serve/bin/ner-model stop --port $(PORT); fi

demo: ## the whole chain on the embedded model, no GPU: data, LoRA, vLLM, label table
	@$(MAKE) run-demo MODEL=nano CORPUS=demo

run-demo: .venv/.ready .venv-train/.ready .venv-serve/.ready
	@trap '$(MAKE) stop' EXIT; trap 'exit 130' INT TERM; \
	echo "== 1/5 data: generate the demo corpus"; $(MAKE) data; \
	echo "== 2/5 train: $(METHOD) on data/nano with llamafactory-cli"; $(MAKE) train ARGS="overwrite_output_dir=true $(ARGS)"; \
	echo "== 3/5 serve: vLLM with the base model and the adapter"; $(MAKE) serve; \
	echo "== 4/5 eval: the base model, untuned"; rm -rf runs/$(BASE)-demo-test runs/$(NAME)-$(SPLIT); \
	.venv/bin/ner-eval predict --model $(BASE) --prompt data/alpaca/demo.prompt.json --corpus demo --split $(SPLIT) \
	  --base-url http://127.0.0.1:$(PORT)/v1 --run $(BASE)-demo-$(SPLIT); \
	.venv/bin/ner-eval score runs/$(BASE)-demo-$(SPLIT); \
	echo "== 5/5 eval: the fine-tuned model"; $(MAKE) eval; \
	echo; echo "outputs: adapter $(ADAPTER), loss plot $(ADAPTER)/training_loss.png, answers and scores runs/$(NAME)-$(SPLIT)"

nano: .venv-train/.ready ## pretrain the embedded model again from nothing (about an hour on one core)
	@$(CPU_ENV) .venv-train/bin/ner-model pretrain-nano --out data/nano

# --- quality ---------------------------------------------------------------------------------------------------------

test: lint .venv-train/.ready .venv-serve/.ready ## lint, types, unit tests, integration tests with llamafactory and vLLM
	@tests/run "not slow"

test-all: lint .venv-train/.ready .venv-serve/.ready ## `make test` and what is slower
	@tests/run ""

lint: .venv/.ready ## ruff and mypy
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

lock: .venv/.ready ## resolve requirements/*.in anew (needs uv)
	@cd requirements; for p in base train-cuda serve-cuda; do $(UV_COMPILE) $$p.in -o $$p.txt; done; \
	for p in train-cpu serve-cpu; do $(UV_COMPILE) $$p.in -o $$p.txt --override cpu-overrides.txt --no-emit-package torch \
	  --extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match; done
UV_COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'

clean: stop ## remove what the stages produced (environments, corpora, models and adapters stay)
	@rm -rf runs cache .serve

# --- environments: built when a target first needs one, and again when its lock file changes --------------------------

.venv/.locked: requirements/base.txt
	@$(call build,.venv,$<)
.venv-train/.locked: requirements/train-$(ACCELERATOR).txt $(TORCH)
	@$(call build,.venv-train,$<,$(TORCH))
.venv-serve/.locked: requirements/serve-$(ACCELERATOR).txt $(TORCH)
	@$(call build,.venv-serve,$<,$(TORCH))

.venv/.ready .venv-train/.ready .venv-serve/.ready: %/.ready: %/.locked pyproject.toml
	@$(@D)/bin/pip install --no-deps --no-build-isolation -e . >>$(@D)/install.log 2>&1 \
	  || { tail -n 5 $(@D)/install.log >&2; echo "$(@D): installing this package failed; see $(@D)/install.log" >&2; exit 2; }
	@touch $@

# build,FOLDER,LOCK[,TORCH]: a CPU torch comes first and by itself, from the configured index if it has it, else PyTorch's.
define build
[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=…" >&2; exit 2; }; \
echo "== building $(1) from $(2) (log: $(1)/install.log)"; $(PYTHON) -m venv --clear $(1); \
fail() { tail -n 5 $(1)/install.log >&2; echo "$(1): installation failed; see $(1)/install.log" >&2; exit 2; }; \
$(if $(3),$(1)/bin/pip install --no-deps --require-hashes -r $(3) >$(1)/install.log 2>&1 \
  || $(1)/bin/pip install --no-deps --require-hashes --index-url $(TORCH_INDEX) -r $(3) >>$(1)/install.log 2>&1 || fail;) \
$(1)/bin/pip install --no-deps --require-hashes -r $(2) 2>&1 | tee -a $(1)/install.log \
  | awk -v n=$$(grep -c == $(2)) '/^Collecting/ {printf "\r   %d of at most %d packages", ++i, n; fflush()} END {print ""}' \
  || fail; touch $@
endef
