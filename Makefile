# The whole story: one target per stage. `make demo` and `make test` need nothing but Python 3.11+, make and a package index.
#   make data train-qwen CORPUS=cluener MODEL=qwen2-7b && make serve eval

CORPUS ?= cluener#      cluener | tcm | demo | any data/corpora/*.yaml
MODEL  ?= qwen2-7b#     a folder of recipes/; `make help` lists them with their methods
METHOD ?= lora#         a recipe of that folder: lora | peft_lora | qlora | dora | full | p_tuning | prefix_tuning
SPLIT  ?= $(if $(filter cluener,$(CORPUS)),dev,test)# CLUENER publishes no gold for its test split
FROM   ?=#              where `make download` takes a model from: modelscope (default) | huggingface | a folder
RAW    ?=#              folder with raw files to use instead of a download
FORM   ?=#              answer form of the training files: a module of tools/ner_data/answers (default: json_list)
PROMPT_ARGS ?=#         what their prompt holds too: --definitions --demonstrations K --seed S --repeat-text --drop-labels SHARE
PORT   ?= 8000
API_PORT ?= 8080#       of `make api`
ARGS   ?=#              key=value overrides of the recipe
CARD   ?=#              graphics card of `make plan` (default: this machine's)
DTYPE  ?=#              number format for serving (default: what suits the machine); half for cards without bf16
TRACK  ?=#              tensorboard | swanlab | wandb: where trainings report to, and `make eval` adds its scores
SCHEME ?= $(if $(filter cuda,$(ACCELERATOR)),awq,int8)# what `make quantize` writes: awq | int8
QUANTIZED ?=#           awq | int8: serve and evaluate what `make quantize` wrote instead of the adapter
KEEP   ?=#              1: `make select` only shows which checkpoint is best
RELOADABLE ?=#          1: `make reload` may exchange the adapter of the server
ROLLBACK ?=#            1: `make reload` goes back to the version before
ACCELERATOR ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
PYTHON ?= $(firstword $(shell for p in python3.11 python3.12 python3.13 python3; do \
            $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,14))' 2>/dev/null && echo $$p; done))
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# What users write is never expanded by make, and reaches the shell in quotes: spaces do no harm, and nothing is executed.
given = $(if $(filter command environment,$(firstword $(origin $(1)))),$(value $(1)),$($(1)))
q     = '$(subst ','\'',$(1))'
METHOD_FROM := $(firstword $(origin METHOD))
override CORPUS      := $(strip $(call given,CORPUS))
override MODEL       := $(strip $(call given,MODEL))
override METHOD      := $(strip $(call given,METHOD))
override SPLIT       := $(strip $(call given,SPLIT))
override FROM        := $(call given,FROM)
override RAW         := $(call given,RAW)
override FORM        := $(strip $(call given,FORM))
override PROMPT_ARGS := $(strip $(call given,PROMPT_ARGS))
override PORT        := $(strip $(call given,PORT))
override API_PORT    := $(strip $(call given,API_PORT))
override ARGS        := $(strip $(call given,ARGS))
override DTYPE       := $(strip $(call given,DTYPE))
override TRACK       := $(strip $(call given,TRACK))
override SCHEME      := $(strip $(call given,SCHEME))
override QUANTIZED   := $(strip $(call given,QUANTIZED))
override KEEP        := $(strip $(call given,KEEP))
override RELOADABLE  := $(strip $(call given,RELOADABLE))
override ROLLBACK    := $(strip $(call given,ROLLBACK))
override CARD        := $(call given,CARD)
override COMPARE     := $(call given,COMPARE)
override ACCELERATOR := $(strip $(call given,ACCELERATOR))
override PYTHON      := $(call given,PYTHON)
override TORCH_INDEX := $(strip $(call given,TORCH_INDEX))
$(if $(filter cpu cuda,$(ACCELERATOR)),,$(error ACCELERATOR=$(ACCELERATOR): must be cpu or cuda))
$(if $(filter-out tensorboard swanlab wandb,$(TRACK))$(word 2,$(TRACK)),$(error TRACK=$(TRACK): must be tensorboard, swanlab or wandb))

WORDS   = $(foreach word,$(ARGS),$(call q,$(word)))
in_args = $(patsubst $(1)=%,%,$(lastword $(filter $(1)=%,$(ARGS))))
RECIPE  = recipes/$(MODEL)/$(METHOD).yaml
USUAL  := saves/$(MODEL)/$(METHOD)/$(CORPUS)
ADAPTER = $(or $(call in_args,output_dir),$(USUAL))
override ADAPTER := $(patsubst %/,%,$(call given,ADAPTER))
NAME    = $(if $(filter-out $(USUAL),$(ADAPTER)),$(notdir $(ADAPTER)),$(MODEL)-$(METHOD)-$(CORPUS))
# Another folder's adapter is exchanged for the one that is served under the usual name.
RELOADED := $(if $(filter command environment,$(firstword $(origin NAME))),$(call given,NAME),$(MODEL)-$(METHOD)-$(CORPUS))
override NAME := $(call given,NAME)
# For a command that is shown, such that it finds the same adapter.
GIVEN = MODEL=$(MODEL) METHOD=$(METHOD) CORPUS=$(CORPUS)$(if $(filter-out $(USUAL),$(ADAPTER)), ADAPTER=$(call q,$(ADAPTER)))
# What is served and evaluated, and its name.
SERVED    = $(if $(QUANTIZED),models/$(NAME)-$(QUANTIZED),$(ADAPTER))
SERVED_AS = $(NAME)$(if $(QUANTIZED),-$(QUANTIZED))
RUN     = $(call q,$(SERVED_AS)-$(SPLIT))
SCHEMES = awq int8
# Values in recipes/MODEL/model.yaml, read with sed because no environment may exist yet.
model_says = $(shell sed -nE 's/^$(1):[[:space:]]*["'\'']?([^[:space:]"'\'']+).*/\1/p' $(call q,recipes/$(MODEL)/model.yaml) 2>/dev/null)
OTHER_BASE := $(call in_args,model_name_or_path)
WEIGHTS   := $(or $(OTHER_BASE),$(call model_says,weights))
NEEDS_GPU := $(call model_says,needs_gpu)
BASE      := $(notdir $(patsubst %/,%,$(WEIGHTS)))
MODELS    := $(sort $(patsubst recipes/%/model.yaml,%,$(wildcard recipes/*/model.yaml)))
methods    = $(filter-out model merge,$(basename $(notdir $(wildcard recipes/$(1)/*.yaml))))
# Recipes name the weights too, for use without make; under make, model.yaml decides.
BASE_ARG = $(call q,model_name_or_path=$(WEIGHTS))
TRACKING := $(if $(TRACK),.venv-train/.ready)
# The stock command, with its log in a file and a progress bar instead.
QUIET        = .venv-train/bin/python -m llamafactory_ner.quiet
LLAMAFACTORY = $(QUIET) .venv-train/bin/llamafactory-cli
# What trains a recipe: ours, without LLaMA-Factory, if its finetuning_type says so.
TRAINER = $(if $(shell grep -sE '^finetuning_type:[[:space:]]*peft_' $(call q,$(RECIPE))),$(QUIET) .venv-train/bin/ner-model,$(LLAMAFACTORY))
# glibc returns the memory of every tensor above 128 kB to the kernel at once; keeping it makes training on a CPU faster. That
# of tensors above 32 MB goes back: batches differ in length, so what is kept of these would soon fill the memory.
CPU_ENV  = $(if $(filter cpu,$(ACCELERATOR)),MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_MMAP_THRESHOLD_=33554432)
TORCH    = $(if $(filter cpu,$(ACCELERATOR)),requirements/torch-cpu.txt)

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
export AUTOWRAPT_BOOTSTRAP := llamafactory_ner
export TOKENIZERS_PARALLELISM := false

.PHONY: help data check download train-qwen train-chatglm3 train plan merge quantize gguf preview serve reload stop api eval predict-batch report select demo run-demo \
        bench-train nano test \
        test-all lint docs sbom audit lock clean known-model known-recipe known-run known-merge known-adapter known-merged known-scheme \
        need-gpu

##@ Start here
demo: ## run the whole pipeline on the embedded model, without a GPU: data, LoRA, vLLM, label table
	@$(MAKE) run-demo MODEL=nano CORPUS=demo

help: ## list the targets, and the base models with their methods
	@awk -F ':.*## ' '/^##@ / {print substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Base models, with the methods that each has a recipe for'
	@$(foreach model,$(MODELS),printf '  MODEL=%-13s METHOD=%s\n' '$(model)' '$(call methods,$(model))';)

##@ Data and training
data: .venv/.ready ## build data/gold and data/alpaca from a corpus's raw files, and register them (CORPUS, RAW, SKIP_BAD=1, FORM, PROMPT_ARGS)
	@$(if $(RAW),,.venv/bin/ner-data fetch $(call q,$(CORPUS)))
	@.venv/bin/ner-data convert $(call q,$(CORPUS)) $(if $(RAW),--raw $(call q,$(RAW))) $(if $(SKIP_BAD),--skip-bad)
	@.venv/bin/ner-data alpaca $(call q,$(CORPUS)) $(if $(FORM),--form $(call q,$(FORM))) \
	  $(foreach word,$(PROMPT_ARGS),$(call q,$(word)))

check: $(if $(TOKENIZER),.venv-train/.ready,.venv/.ready) ## look for mistakes in a corpus, data/gold/CORPUS/check.html: leaks between splits, conflicting labels, missed mentions (TOKENIZER=DIR counts tokens; CHECK_ARGS="--strict all")
	@$(if $(TOKENIZER),.venv-train,.venv)/bin/ner-data check $(call q,$(CORPUS)) --html $(call q,data/gold/$(CORPUS)/check.html) \
	  $(if $(TOKENIZER),--tokenizer $(call q,$(TOKENIZER))) $(foreach word,$(CHECK_ARGS),$(call q,$(word)))

download: known-model .venv-train/.ready ## download a base model, check it, and convert it if needed (FROM=huggingface, or a folder)
	@.venv-train/bin/ner-model download $(call q,$(MODEL)) $(if $(FROM),--from $(call q,$(FROM)))

plan: known-recipe .venv-train/.ready ## estimate memory, disk, steps and time of a training before any download (CARD="RTX 4090")
	@.venv-train/bin/ner-model plan $(call q,$(RECIPE)) $(if $(CARD),--card $(call q,$(CARD))) $(BASE_ARG) \
	  $(call q,dataset=$(CORPUS)_train) $(WORDS)

train-qwen: train ## the same as `make train`

train: known-run need-gpu .venv-train/.ready ## fine-tune MODEL on CORPUS with recipes/MODEL/METHOD.yaml (ARGS="key=value …" overrides it)
	@$(if $(FORM)$(PROMPT_ARGS),,test -f $(call q,data/alpaca/$(CORPUS)_train.json) -a -f data/alpaca/dataset_info.json ||) $(MAKE) data
	@.venv-train/bin/ner-model plan --last-line $(call q,$(RECIPE)) $(BASE_ARG) $(call q,dataset=$(CORPUS)_train) $(WORDS) 2>/dev/null || true
	@$(if $(OTHER_BASE),,test -f $(call q,$(WEIGHTS)/config.json) || $(MAKE) download)
	@$(CPU_ENV) $(TRAINER) train $(call q,$(RECIPE)) $(BASE_ARG) $(call q,dataset=$(CORPUS)_train) \
	  $(call q,output_dir=$(ADAPTER)) $(addprefix report_to=,$(TRACK)) $(WORDS)
	@$(if $(filter-out $(USUAL),$(ADAPTER)),echo $(call q,serve and evaluate it with: make serve eval $(GIVEN)))

train-chatglm3: ## the same as `make train MODEL=chatglm3-6b`, with METHOD=prefix_tuning by default
	@$(MAKE) train MODEL=chatglm3-6b METHOD=$(call q,$(if $(filter command environment,$(METHOD_FROM)),$(METHOD),prefix_tuning))

preview: known-recipe .venv-train/.ready ## print training records as the model sees them, with the trained part marked
	@.venv-train/bin/ner-data preview $(call q,$(RECIPE)) $(BASE_ARG) $(call q,dataset=$(CORPUS)_train) $(WORDS)

merge: known-merge .venv-train/.ready ## merge the LoRA adapter into its base model, models/MODEL-METHOD-CORPUS, and compare 50 answers
	@$(LLAMAFACTORY) export $(call q,recipes/$(MODEL)/merge.yaml) $(BASE_ARG) $(call q,adapter_name_or_path=$(ADAPTER)) \
	  $(call q,export_dir=models/$(NAME)) $(WORDS)
	@.venv-train/bin/ner-model check-merge $(call q,$(or $(call in_args,export_dir),models/$(NAME))) --base $(call q,$(WEIGHTS)) \
	  --adapter $(call q,$(or $(call in_args,adapter_name_or_path),$(ADAPTER))) --corpus $(call q,$(CORPUS)) --split $(call q,$(SPLIT))

quantize: known-model known-scheme known-merged .venv-quantize/.ready ## write the merged model in fewer bits, models/NAME-SCHEME (SCHEME=awq|int8; ARGS="--samples 128 …")
	@.venv-quantize/bin/ner-model quantize $(call q,$(WHOLE)) $(call q,models/$(NAME)-$(SCHEME)) --scheme $(call q,$(SCHEME)) $(WORDS)
	@echo $(call q,serve and evaluate it with: make serve eval QUANTIZED=$(SCHEME) $(GIVEN))

gguf: known-model known-merged .venv-train/.ready .gguf/.ready ## convert the merged (or fully fine-tuned) model to GGUF, models/NAME-gguf, for llama.cpp (ARGS="--type q8_0")
	@.venv-train/bin/ner-model export-gguf $(call q,$(WHOLE)) $(call q,models/$(NAME)-gguf) $(WORDS)

# Refuse a request for something that does not exist, before any environment is built.
refuse = { echo $(call q,$(1)) >&2; exit 2; }
known  = $(and $(filter 1,$(words $(1))),$(filter $(2),$(1)))
known-model:
	@$(if $(call known,$(MODEL),$(MODELS)),:,$(call refuse,MODEL=$(MODEL): no recipes/$(MODEL)/model.yaml; known: $(MODELS)))
	@$(if $(and $(WEIGHTS),$(filter true false,$(NEEDS_GPU))),:,$(call refuse,recipes/$(MODEL)/model.yaml: needs the lines \
	  `weights: FOLDER` and `needs_gpu: true` or `needs_gpu: false`; add them))
known-recipe: known-model
	@$(if $(call known,$(METHOD),$(call methods,$(MODEL))),:,$(call refuse,METHOD=$(METHOD): \
	  not a recipe in recipes/$(MODEL); known: $(call methods,$(MODEL))))
# What ARGS overrides must not contradict the folder that is trained into, served and evaluated.
OUTPUT   := $(call in_args,output_dir)
DATA_SET := $(call in_args,dataset)
comma    := ,
DATA_SETS = $(subst $(comma), ,$(patsubst [%],%,$(DATA_SET)))
known-run: known-recipe
	@$(if $(OUTPUT),[ $(call q,$(OUTPUT)) = $(call q,$(ADAPTER)) ] || [ $(call q,$(OUTPUT)) = $(call q,$(ADAPTER)/) ] || \
	  $(call refuse,ADAPTER=$(ADAPTER) and output_dir=$(OUTPUT): different folders; give only one of them))
	@$(if $(DATA_SET),$(if $(filter $(CORPUS)_train $(CORPUS)_dev $(CORPUS)_test,$(DATA_SETS)),:,$(call refuse,dataset=$(DATA_SET): \
	  not of CORPUS=$(CORPUS); set CORPUS=$(patsubst %_train,%,$(firstword $(DATA_SETS))) instead$(comma) or add its own: \
	  dataset=$(CORPUS)_train$(comma)$(patsubst [%],%,$(DATA_SET)))))
known-scheme:
	@$(if $(call known,$(SCHEME),$(SCHEMES)),:,$(call refuse,SCHEME=$(SCHEME): no such scheme; known: $(SCHEMES)))
# A fully fine-tuned model needs no merge.
WHOLE = $(if $(filter full,$(METHOD)),$(ADAPTER),models/$(NAME))
known-merged:
	@[ -d $(call q,$(WHOLE)) ] || $(call refuse,$(WHOLE): no such folder; only whole models are quantised or converted: make \
	  $(if $(filter full,$(METHOD)),train,merge) $(GIVEN))
known-adapter:
	@$(if $(QUANTIZED),[ -d $(call q,$(SERVED)) ] || $(call refuse,$(SERVED): no such folder; quantise the merged model \
	  (make merge quantize SCHEME=$(QUANTIZED) $(GIVEN))))
	@[ -d $(call q,$(SERVED)) ] || $(call refuse,$(ADAPTER): no such folder; train the adapter \
	  (make train $(GIVEN))$(comma) or name its folder with ADAPTER=…)
known-merge: known-model
	@$(if $(wildcard recipes/$(MODEL)/merge.yaml),:,$(call refuse,recipes/$(MODEL)/merge.yaml: \
	  no such file; copy it from another model))
need-gpu: known-model
	@$(if $(filter cpu-true,$(ACCELERATOR)-$(NEEDS_GPU)),$(call refuse,$(MODEL) needs a GPU and found no NVIDIA driver here; \
	  `make demo` shows the whole pipeline on a CPU),:)

##@ Serving and evaluation
serve: known-model known-adapter .venv-serve/.ready ## start vLLM on 127.0.0.1:PORT with the base model and the adapter (ADAPTER=DIR: of another folder; QUANTIZED=awq|int8)
	@.venv-serve/bin/ner-model serve $(call q,$(SERVED_AS)=$(SERVED)) --port $(call q,$(PORT)) $(if $(DTYPE),--dtype $(call q,$(DTYPE))) \
	  $(if $(RELOADABLE),--reloadable)

reload: known-model $(if $(ROLLBACK),,known-adapter) .venv-serve/.ready ## exchange the adapter of the server that `make serve RELOADABLE=1` started (ADAPTER=DIR: for that of another folder; ROLLBACK=1: go back)
	@.venv-serve/bin/ner-model reload --port $(call q,$(PORT)) \
	  $(if $(ROLLBACK),--rollback $(call q,$(RELOADED)),$(call q,$(RELOADED)=$(ADAPTER)))

eval: known-model known-adapter .venv/.ready $(TRACKING) ## send every record of SPLIT to the server, score the answers, print the label table
	@.venv/bin/ner-eval predict --model $(call q,$(SERVED_AS)) --adapter $(call q,$(SERVED)) --corpus $(call q,$(CORPUS)) \
	  --split $(call q,$(SPLIT)) --base-url $(call q,http://127.0.0.1:$(PORT)/v1) --run $(RUN)
	@.venv/bin/ner-eval score runs/$(RUN)
	@$(if $(TRACK),.venv-train/bin/ner-eval track runs/$(RUN) --tracker $(TRACK))

predict-batch: known-model known-adapter .venv/.ready .venv-serve/.ready ## the same in vLLM without a server (on a GPU, stop a running one first)
	@ask() { .venv/bin/ner-eval predict --model $(call q,$(SERVED_AS)) --adapter $(call q,$(SERVED)) --corpus $(call q,$(CORPUS)) \
	  --split $(call q,$(SPLIT)) --batch --run $(RUN); }; run=runs/$(RUN); ask; \
	if [ -e "$$run/batch-requests.jsonl" ]; then \
	  .venv-serve/bin/ner-model answer-batch $(call q,$(SERVED_AS)=$(SERVED)) --requests "$$run/batch-requests.jsonl" \
	    --results "$$run/batch-results.jsonl" $(if $(DTYPE),--dtype $(call q,$(DTYPE))); ask; fi; \
	.venv/bin/ner-eval score "$$run"

report: known-model .venv/.ready ## write runs/NAME-SPLIT/report.html: figures, errors, confusions (COMPARE=another run)
	@.venv/bin/ner-eval report runs/$(RUN) $(if $(COMPARE),--compare $(call q,$(COMPARE)))

select: known-model known-adapter .venv/.ready .venv-serve/.ready ## ask all checkpoints of ADAPTER for the held-out tenth of train, publish the best (KEEP=1: only show it)
	@served=$$(.venv/bin/ner-eval select $(call q,$(ADAPTER)) --model $(call q,$(NAME)) --list); \
	stop() { .venv-serve/bin/ner-model stop --port $(call q,$(PORT)); }; \
	if [ -n "$$served" ]; then mapfile -t served <<<"$$served"; trap 'exit 130' INT TERM; \
	  .venv-serve/bin/ner-model serve "$${served[@]}" --port $(call q,$(PORT)) $(if $(DTYPE),--dtype $(call q,$(DTYPE))); \
	  trap stop EXIT; fi; \
	.venv/bin/ner-eval select $(call q,$(ADAPTER)) --model $(call q,$(NAME)) $(if $(KEEP),--keep) \
	  --base-url $(call q,http://127.0.0.1:$(PORT)/v1)

api: known-model known-adapter .venv/.ready ## answer requests for entities, and show a page to try the model, on 127.0.0.1:API_PORT, in front of the server (Ctrl-C ends it)
	@.venv/bin/ner-eval api --model $(call q,$(SERVED_AS)=$(SERVED)) --port $(call q,$(API_PORT)) \
	  --base-url $(call q,http://127.0.0.1:$(PORT)/v1) $(WORDS)

stop: ## stop the server that `make serve` started
	@if [ -x .venv-serve/bin/ner-model ]; then .venv-serve/bin/ner-model stop --port $(call q,$(PORT)); fi

run-demo: known-run .venv/.ready .venv-train/.ready .venv-serve/.ready
	@trap '$(MAKE) stop' EXIT; trap 'exit 130' INT TERM; \
	echo "== 1/5 data: generate the demo corpus"; $(MAKE) data; \
	echo $(call q,== 2/5 train: $(METHOD) on $(WEIGHTS) with $(notdir $(lastword $(TRAINER)))); \
	$(MAKE) train ARGS=$(call q,overwrite_output_dir=true $(ARGS)); \
	echo "== 3/5 serve: vLLM with the base model and the adapter"; $(MAKE) serve; \
	echo "== 4/5 eval: the base model, untuned"; rm -rf runs/$(call q,$(BASE)-demo-$(SPLIT)) runs/$(RUN); \
	.venv/bin/ner-eval predict --model $(call q,$(BASE)) --prompt data/alpaca/demo.prompt.json --corpus demo \
	  --split $(call q,$(SPLIT)) --base-url $(call q,http://127.0.0.1:$(PORT)/v1) --run $(call q,$(BASE)-demo-$(SPLIT)); \
	.venv/bin/ner-eval score runs/$(call q,$(BASE)-demo-$(SPLIT)); \
	echo "== 5/5 eval: the fine-tuned model"; $(MAKE) eval; \
	echo; echo "outputs: adapter "$(call q,$(ADAPTER))", loss plot "$(call q,$(ADAPTER))"/training_loss.png, answers and scores runs/"$(RUN)

##@ This repository
bench-train: .venv-train/.ready ## compare training with stock llamafactory: speed, memory, loss curves (MODEL may be a folder; ARGS="--steps 20")
	@test -f $(call q,data/alpaca/$(CORPUS)_train.json) -a -f data/alpaca/dataset_info.json || $(MAKE) data
	@$(CPU_ENV) .venv-train/bin/python tests/bench/training.py --model $(call q,$(MODEL)) --corpus $(call q,$(CORPUS)) $(WORDS)

nano: .venv-train/.ready ## pretrain the embedded base model from scratch (about an hour on one core)
	@$(CPU_ENV) .venv-train/bin/ner-model pretrain-nano --out data/nano

test: lint .venv-train/.ready .venv-serve/.ready ## run lint, types, and the tests with the real llamafactory and vLLM
	@tests/run "not slow"

test-all: lint .venv-train/.ready .venv-serve/.ready .venv-quantize/.ready .venv-audit/.locked .venv-label-studio/.locked .train-extras/.ready ## run the slow tests too
	@tests/run ""

lint: docs ## check style and types, the Dockerfile, the compose files, the workflows, and build the site of docs/
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	@.venv/bin/hadolint Dockerfile && .venv/bin/actionlint .github/workflows/*.yml
	@.venv/bin/docker-compose -f compose.yaml config -q && .venv/bin/docker-compose -f compose.yaml -f deploy/compose.gpu.yaml config -q

# A page that links to one that does not exist fails.
docs: .venv/.ready .venv-docs/.locked ## build the site of docs/, in Chinese and English: docs/site/index.html
	@.venv/bin/python docs/ner_docs docs/site/pages
	@for language in en zh; do .venv-docs/bin/zensical build --strict --clean -f docs/zensical.$$language.toml 2>&1 \
	  | sed 's/\x1b\[[0-9;]*m//g; /^Traceback/,$$d; s/^/zensical: /'; done
	@cp docs/index.html docs/site/index.html

# torch-cpu.txt: PyTorch's own build of a version that serve-cuda.txt has from the registry, which knows no other.
LOCKS = $(filter-out %-overrides.txt %/torch-cpu.txt,$(wildcard requirements/*.txt))

sbom: .venv-audit/.locked ## write sbom/: the packages of every lock file (CycloneDX), and the licences of those in the environments
	@mkdir -p sbom; for lock in $(LOCKS); do name=sbom/$$(basename $$lock .txt).cdx.json; \
	  .venv-audit/bin/cyclonedx-py requirements $$lock --output-reproducible -o $$name 2>/dev/null; \
	  echo "$$name: $$(grep -c '"purl"' $$name) packages"; done
	@for python in .venv*/bin/python; do name=sbom/$${python%%/*}.licences.csv; name=$${name/.venv/venv}; \
	  .venv-audit/bin/pip-licenses --python $$python --from mixed --with-urls --format csv --output-file $$name >/dev/null; \
	  echo "$$name: $$(($$(wc -l <$$name) - 1)) packages, $$(grep -c '"UNKNOWN"' $$name || true) without a stated licence"; done

# pip-audit calls packages that its index does not know harmless, and ends with a traceback if it finds no index.
audit: sbom ## look up known vulnerabilities of every locked package; fails if there are any, or if that cannot be done
	@bad=; log=$$(mktemp); trap 'rm -f "$$log"' EXIT; for lock in $(LOCKS); do \
	  if .venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r $$lock 2>"$$log"; \
	  then echo "$$lock: no known vulnerability"; else bad=1; \
	    grep '^Found' "$$log" || echo "$$lock: not audited ($$(tail -n 1 "$$log" | cut -c -200)); repeat it where the index can be reached" >&2; fi; \
	done; [ -z "$$bad" ] || exit 2

lock: .venv/.ready ## resolve requirements/*.in into hash-locked files again (needs uv)
	@cd requirements; for p in base audit docs label-studio serve-cuda quantize-cuda; do $(UV_COMPILE) $$p.in -o $$p.txt; done; \
	$(UV_COMPILE) eval.in -o eval.txt -c base.txt; \
	$(UV_COMPILE) train-cuda.in -o train-cuda.txt --override train-overrides.txt; \
	$(UV_COMPILE) train-cpu.in -o train-cpu.txt --override train-overrides.txt $(UV_CPU); \
	$(UV_COMPILE) train-extras.in -o train-extras.txt --override train-extras-overrides.txt --no-annotate \
	  -c <(sed -nE '/^protobuf=/d; s/^([a-z].*==.*) \\$$/\1/p' train-cpu.txt); \
	for p in serve-cpu quantize-cpu; do $(UV_COMPILE) $$p.in -o $$p.txt $(UV_CPU); done
UV_CPU = --override cpu-overrides.txt --no-emit-package torch --extra-index-url $(call q,$(TORCH_INDEX)) --index-strategy unsafe-best-match
UV_COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'

clean: ## stop all servers, remove runs, caches and server state (environments, corpora, models and adapters stay)
	@for state in .serve/*.json; do [ ! -f "$$state" ] || $(MAKE) stop PORT="$$(basename "$$state" .json)"; done
	@rm -rf runs cache .serve

# --- environments: built when a target first needs one, and again when its lock file changes --------------------------

.venv/.locked: requirements/base.txt
	@$(call build,.venv,$<)
.venv-audit/.locked: requirements/audit.txt
	@$(call build,.venv-audit,$<)
.venv-docs/.locked: requirements/docs.txt
	@$(call build,.venv-docs,$<)
.venv-label-studio/.locked: requirements/label-studio.txt
	@$(call build,.venv-label-studio,$<)
.venv-train/.locked: requirements/train-$(ACCELERATOR).txt $(TORCH)
	@$(call build,.venv-train,$<,$(TORCH))
.venv-serve/.locked: requirements/serve-$(ACCELERATOR).txt $(TORCH)
	@$(call build,.venv-serve,$<,$(TORCH))
.venv-quantize/.locked: requirements/quantize-$(ACCELERATOR).txt $(TORCH)
	@$(call build,.venv-quantize,$<,$(TORCH))

.venv/.ready .venv-train/.ready .venv-serve/.ready .venv-quantize/.ready: %/.ready: %/.locked pyproject.toml
	@$(@D)/bin/pip install --no-deps --no-build-isolation -e . >>$(@D)/install.log 2>&1 \
	  || { tail -n 5 $(@D)/install.log >&2; echo "$(@D): installing this package failed; see $(@D)/install.log" >&2; exit 2; }
	@touch $@

# What slow tests add to .venv-train, whose setuptools and torch DeepSpeed's source distribution is built with.
.train-extras/.ready: requirements/train-extras.txt | .venv-train/.ready
	@echo "== installing $< into .train-extras (log: .train-extras/install.log)"; rm -rf .train-extras; mkdir .train-extras; \
	DS_BUILD_OPS=0 .venv-train/bin/pip install --no-deps --require-hashes --no-build-isolation --target .train-extras -r $< \
	  >.train-extras/install.log 2>&1 \
	  || { tail -n 5 .train-extras/install.log >&2; echo ".train-extras: installation failed; see .train-extras/install.log" >&2; exit 2; }
	@touch $@

# llama.cpp's converter, out of a source distribution that pip downloads and checks.
.gguf/.ready: requirements/gguf.txt requirements/gguf-build.txt | .venv-train/.ready
	@echo "== unpacking llama.cpp's converter into .gguf (log: .gguf/install.log)"; rm -rf .gguf; mkdir -p .gguf/build; \
	python=$$PWD/.venv-train/bin/python; (cd .gguf; \
	"$$python" -m pip install --no-deps --require-hashes --target build -r ../requirements/gguf-build.txt && \
	PYTHONPATH=$$PWD/build "$$python" -m pip download --no-deps --require-hashes --no-binary :all: --no-build-isolation \
	  -d build -r ../requirements/gguf.txt && \
	tar xzf build/llama_cpp_python-*.tar.gz --strip-components=3 --wildcards $(foreach part,convert_hf_to_gguf.py conversion \
	  gguf-py/gguf LICENSE,'*/vendor/llama.cpp/$(part)')) >.gguf/install.log 2>&1 \
	  || { tail -n 5 .gguf/install.log >&2; echo ".gguf: installation failed; see .gguf/install.log" >&2; exit 2; }
	@rm -rf .gguf/build; touch $@

# build,FOLDER,LOCK[,TORCH]: install a CPU torch first, from the configured index if it has one, else from PyTorch's.
define build
[ -n $(call q,$(PYTHON)) ] || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=…" >&2; exit 2; }; \
echo "== building $(1) from $(2) (log: $(1)/install.log)"; $(call q,$(PYTHON)) -m venv --clear $(1); \
fail() { tail -n 5 $(1)/install.log >&2; echo "$(1): installation failed; see $(1)/install.log" >&2; exit 2; }; \
$(if $(3),$(1)/bin/pip install --no-deps --require-hashes -r $(3) >$(1)/install.log 2>&1 \
  || $(1)/bin/pip install --no-deps --require-hashes --index-url $(call q,$(TORCH_INDEX)) -r $(3) >>$(1)/install.log 2>&1 || fail;) \
$(1)/bin/pip install --no-deps --require-hashes -r $(2) 2>&1 | tee -a $(1)/install.log \
  | awk -v n=$$(grep -c == $(2)) '/^Collecting/ {printf "\r   %d of at most %d packages", ++i, n; fflush()} END {print ""}' \
  || fail; touch $@
endef
