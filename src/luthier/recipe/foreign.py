"""Keys and values of axolotl, LLaMA-Factory, TRL and Hugging Face's Trainer, and what to write here.

Only what has another name here, or no use, is listed: one of Luthier's own keys at the wrong level is found
without a table.
"""

from __future__ import annotations

_EXACT_PACKING = "leave it out: rows are always packed and never see each other"
_MEMORY = "leave it out: micro-batches are cut to fit `machine.memory`, which changes no result"
_PRECISION = "leave it out: the number format follows from the device"
_QUANTISED = "write `load_in_4bit: true` (NF4) or `load_in_8bit: true` for a base of fewer bits, or leave it out"
_REPORTS = "leave it out: every run records its metrics; `luthier runs watch` shows them"
_OUTPUT = "leave it out: a run lives in the Luthier home, and `luthier export` writes the model where you want it"
_STEPS_EVAL = "write `train.eval_steps`, in optimizer steps (`auto` evaluates about ten times)"
_VERBS = "leave it out: `luthier run` fits and evaluates, `luthier train` only fits"
_STEPS_SAVE = "write `train.save_steps`, in optimizer steps"
_TEMPLATE = "leave it out to use the model's own template, or write a Jinja file at `chat_template`"
_COLUMNS = "name the columns in the data entry, for example `data.0.field_messages`"
_ROLES = "leave it out: the roles of OpenAI and ShareGPT messages are recognised"
_PARALLEL = "leave it out: a run uses one device, named at `machine.device`"
_OPTIMIZER = "write `train.optimizer`: `adamw`, `adamw_8bit` or `paged_adamw_8bit`"
_KERNELS = "leave it out: attention and loss kernels are chosen for the device"
_WORKERS = "leave it out: rows are tokenised once and cached; `machine.threads` bounds the CPU threads"
_MODEL = "write `base_model`: a folder, a hub id or a packaged model"
_DATA = "write `data`: a path, or a list of entries with `path` and `type`"
_EPOCHS = "write `train.num_epochs`"
_ADAPTER = "write `adapter.type`: `lora`, `full`, `head`, `ia3`, `bottleneck`, `adalora`, `prefix` or `prompt`"
_OBJECTIVE = "write `objective`: `sft`, `pretrain`, `classify`, `distill`, `dpo`, `reward`, `grpo` or `ppo`"
_BATCH = "write `train.batch_size`, the rows per optimizer step; micro-batches are cut by the machine's memory"
_CHECKPOINTING = "write `train.gradient_checkpointing`: `auto`, `true` or `false`"
_RATE = "write `train.learning_rate`"
_SCHEDULE = "write `train.lr_scheduler`: `constant`, `linear`, `cosine` or `wsd`"
_WARMUP = "write `train.warmup_ratio`, a share of the steps"
_LENGTH = "write `train.sequence_len`, in tokens, and `train.truncation` for longer rows"
_VALIDATION = "write `splits.validation`, a share of the rows, or a data entry with `split: validation`"
_ENTRY = "write a data entry with `split: validation` or `split: test`"
_TEST = "write `splits.test`, a share of the rows, or a data entry with `split: test`"
_PLAIN_LORA = "leave it out: LoRA is trained afresh, scaled by `adapter.lora_alpha` / `adapter.lora_r`"
_TOKENIZER = "leave it out: the tokenizer and the architecture come with `base_model`"
_TURNS = "write `train.train_on`: `assistant`, `last` or `all`"
_SEED = "write `train.seed` (order of rows, initial weights) or `splits.seed` (which rows go where)"
_LORA_TARGETS = "write `adapter.lora_target_modules`: `all-linear`, or a list of names"
_BEST = "leave it out: the best checkpoint, by `train.metric_for_best_model`, is what is kept"
_RESUME = "leave it out: the same command on an unfinished run resumes it"
_HUB = "leave it out: `luthier export` writes a folder that can be uploaded"

_GROUPS: dict[str, str] = {
    "model model_name model_name_or_path model_id pretrained_model_name_or_path base_model_name": _MODEL,
    "tokenizer tokenizer_type tokenizer_name tokenizer_name_or_path tokenizer_config model_type "
    "trust_remote_code processor_type": _TOKENIZER,
    "datasets dataset dataset_name dataset_path dataset_dir train_file training_file data_files train_data": _DATA,
    "test_datasets eval_dataset validation_file validation_data": _ENTRY,
    "val_set_size eval_size validation_split validation_size": _VALIDATION,
    "test_size test_split test_set_size": _TEST,
    "dataset_prepared_path overwrite_cache preprocessing_num_workers dataset_num_proc "
    "dataset_processes dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor": _WORKERS,
    "micro_batch_size per_device_train_batch_size train_batch_size global_batch_size": _BATCH,
    "gradient_accumulation_steps grad_accum auto_find_batch_size gradient_checkpointing_kwargs "
    "eval_batch_size per_device_eval_batch_size": _MEMORY,
    "use_gradient_checkpointing": _CHECKPOINTING,
    "enable_activation_offloading": "write `train.activation_offloading`",
    "num_train_epochs epochs n_epochs": _EPOCHS,
    "max_length max_seq_length max_seq_len cutoff_len block_size model_max_length": _LENGTH,
    "max_prompt_length": _LENGTH,
    "max_completion_length response_length": "write `evaluate.max_new_tokens`: sampled answers are no longer",
    "init_kl_coef": "write `objective.kl_coef`",
    "num_ppo_epochs ppo_epochs": "write `objective.num_iterations`",
    "reward_funcs reward_func reward_function": "write `objective.reward`",
    "cliprange clip_range epsilon_high": "write `objective.epsilon`",
    "missing_eos_penalty mask_truncated_completions": (
        "leave it out: an answer without its end is scored as it stands, as in the evaluation"
    ),
    "use_vllm vllm_mode vllm_gpu_memory_utilization": "leave it out: answers are sampled by the policy itself",
    "excess_length_strategy truncation_side": "write `train.truncation`: `error`, `drop` or `right`",
    "sample_packing eval_sample_packing packing pad_to_sequence_len pad_to_multiple_of "
    "group_by_length neat_packing padding_free multipack_real_batches": _EXACT_PACKING,
    "flash_attention flash_attn xformers_attention sdp_attention eager_attention s2_attention "
    "attn_implementation use_flash_attention_2 liger_kernel use_liger_kernel enable_liger_kernel "
    "torch_compile unsloth use_unsloth plugins": _KERNELS,
    "bf16 fp16 tf32 float16 bfloat16 torch_dtype dtype mixed_precision pure_bf16": _PRECISION,
    "quantization_bit quantization_method gptq bnb_4bit_quant_type bnb_4bit_compute_dtype quantization": _QUANTISED,
    "output_dir save_dir hub_cache overwrite_output_dir logging_dir": _OUTPUT,
    "logging_steps logging_strategy logging_first_step report_to run_name plot_loss wandb_project "
    "wandb_entity wandb_watch wandb_name wandb_run_id wandb_log_model use_wandb mlflow_tracking_uri "
    "comet_project_name use_tensorboard include_num_input_tokens_seen": _REPORTS,
    "eval_strategy evaluation_strategy evals_per_epoch": _STEPS_EVAL,
    "do_train do_eval do_predict": _VERBS,
    "save_strategy saves_per_epoch save_safetensors save_total_limit save_only_model": _STEPS_SAVE,
    "load_best_model_at_end greater_is_better": _BEST,
    "resume_from_checkpoint auto_resume_from_checkpoints": _RESUME,
    "push_to_hub hub_model_id hub_token hub_strategy": _HUB,
    "lr peak_learning_rate learning_rate_multiplier": _RATE,
    "lr_scheduler_type lr_scheduler_kwargs scheduler cosine_min_lr_ratio": _SCHEDULE,
    "warmup_steps warmup": _WARMUP,
    "optim": _OPTIMIZER,
    "optim_args optim_target_modules": "leave it out: AdamW's settings are `train.adam_beta1`, `train.weight_decay`, …",
    "optimizer_in_bwd": "write `train.optimizer_in_backward`",
    "grad_clip gradient_clipping max_norm": "write `train.max_grad_norm`",
    "finetuning_type peft_type tuner use_lora use_peft method fine_tuning_type": _ADAPTER,
    "lora_target lora_target_linear target_modules lora_modules": _LORA_TARGETS,
    "virtual_tokens prefix_length prompt_length pre_seq_len": "write `adapter.num_virtual_tokens`",
    "lora_rank r rank": "write `adapter.lora_r`",
    "alpha lora_scale": "write `adapter.lora_alpha`; the scale is `adapter.lora_alpha` / `adapter.lora_r`",
    "lora_fan_in_fan_out lora_model_dir adapter_name_or_path lora_modules_to_save modules_to_save "
    "bias lora_bias use_rslora loraplus_lr_ratio lora_on_cpu": _PLAIN_LORA,
    "peft_use_dora": "write `adapter.use_dora`",
    "dora": "write `adapter: {type: lora, use_dora: true}`",
    "reduction_factor bottleneck_dim adapter_size": "write `adapter.bottleneck_size`, in dimensions",
    "template conversation chat_template_path default_system_message chat_template_jinja": _TEMPLATE,
    "ds_type data_format formatting format": "write `data.0.type`, or leave it out to have it detected",
    "message_field_role message_field_content message_property_mappings roles roles_to_train "
    "message_field_training tags": _ROLES,
    "columns dataset_text_field text_column text_field label_column field_human field_model field "
    "field_system": _COLUMNS,
    "train_on_inputs train_on_eos train_on_prompt completion_only_loss assistant_only_loss "
    "mask_history mask_prompt train_on_responses_only": _TURNS,
    "stage rl trainer_type task task_type trainer": _OBJECTIVE,
    "dpo_beta pref_beta rl_beta": "write `objective.beta`",
    "dpo_label_smoothing label_smoothing_factor": "write `objective.label_smoothing`",
    "pref_loss": "leave it out: `objective: dpo` is the loss of Rafailov et al. 2023",
    "ref_model ref_model_name_or_path precompute_ref_log_probs reference_free": (
        "leave it out: the reference is the policy at step 0, whose log-probabilities are computed once"
    ),
    "special_tokens tokens new_special_tokens resize_vocab added_tokens_overrides": (
        "leave it out: the vocabulary stays that of `base_model`"
    ),
    "deepspeed fsdp fsdp_config ddp ddp_timeout ddp_find_unused_parameters local_rank "
    "accelerator_config tensor_parallel_size context_parallel_size": _PARALLEL,
    "use_cpu no_cuda": "write `machine.device: cpu`",
    "max_samples max_eval_samples": "leave it out, or bound the test rows with `evaluate.max_rows`",
    "compute_metrics predict_with_generate": "write `evaluate.metrics`",
    "random_seed data_seed random_state shuffle_seed": _SEED,
    "early_stopping early_stopping_threshold": "write `train.early_stopping_patience`, in evaluations",
    "shuffle_merged_datasets dataset_exact_deduplication": "write `curate.deduplicate`",
    "neftune_noise_alpha strict remove_unused_columns debug hf_use_auth_token disable_tqdm": (
        "leave it out: there is no such setting"
    ),
    "num_labels id2label label2id problem_type": "leave it out: the labels are read from the data",
    "hyperparameters training_args": "write its settings under `train`",
    "suffix new_model run_id": "write `name`, the registered model's name",
}
KEYS: dict[str, str] = {name: advice for names, advice in _GROUPS.items() for name in names.split()}
"""Key of another tool -> what to do instead."""

_FULL = "write `full` to train every weight"
_LORA = "write `lora`"
_TEMPLATES = "chatml llama3 llama2 mistral gemma phi_3 qwen alpaca vicuna zephyr tokenizer_default default jinja"
VALUES: dict[tuple[str, str], str] = {
    ("adapter.type", "qlora"): f"{_LORA}, and `load_in_4bit: true` beside it",
    **{("adapter.type", other): _FULL for other in ("none", "fft", "full-finetune")},
    **{("adapter.type", other): _LORA for other in ("peft", "rslora", "pissa")},
    ("adapter.type", "dora"): "write `adapter: {type: lora, use_dora: true}`",
    **{("adapter.type", other): "write `ia3`" for other in ("ia³", "(ia)^3", "tfew")},
    **{("adapter.type", other): "write `bottleneck`" for other in ("houlsby", "pfeiffer", "adapter", "adapters")},
    **{("adapter.type", other): "write `prefix`" for other in ("prefix_tuning", "prefix-tuning")},
    **{("adapter.type", other): "write `prompt`" for other in ("prompt_tuning", "prompt-tuning", "soft_prompt")},
    ("adapter.lora_target_modules", "all"): "write `all-linear`",
    **{("objective.type", other): "write `pretrain`" for other in ("pt", "completion", "clm")},
    **{("objective.type", other): "write `sft`" for other in ("finetune", "instruct", "supervised", "chat")},
    **{
        ("objective.type", other): "write `classify`"
        for other in ("classification", "seq_cls", "sequence-classification")
    },
    **{
        ("objective.type", other): "write `dpo`, for pairs of a chosen and a rejected answer"
        for other in ("ipo", "kto", "orpo", "cpo", "simpo")
    },
    **{("objective.type", other): "write `distill`" for other in ("gkd", "kd", "minillm", "knowledge_distillation")},
    **{("objective.type", other): "write `grpo`" for other in ("rloo", "gspo", "dapo", "dr_grpo", "reinforce")},
    **{("objective.type", other): "write `reward`" for other in ("rm", "reward_model", "reward_modeling")},
    ("train.lr_scheduler", "warmup_stable_decay"): "write `wsd`",
    ("train.lr_scheduler", "constant_with_warmup"): "write `constant`; `train.warmup_ratio` is the warm-up",
    ("train.lr_scheduler", "cosine_with_restarts"): "write `cosine`",
    **{("data.0.type", name): "write `chat`" for name in ("chat_template", "openai", "messages", "conversational")},
    **{("data.0.type", name): "write `preference`" for name in ("dpo", "ranking", "pairwise")},
    **{("data.0.type", name): "write `prompt_completion`" for name in ("input_output", "prompt-completion")},
    ("data.0.type", "completion"): "write `text`",
    **{("data.0.split", name): "write `validation`" for name in ("val", "valid", "dev", "eval")},
    **{("chat_template", name): _TEMPLATE for name in _TEMPLATES.split()},
    **{("evaluate.metrics.0", name): "write `macro_f1`" for name in ("f1", "f1_macro", "macro-f1")},
    **{("evaluate.metrics.0", name): "write `nll`" for name in ("loss", "perplexity", "ppl", "eval_loss")},
    **{("train.metric_for_best_model", name): "write `nll`" for name in ("eval_loss", "perplexity")},
    **{("machine.device", name): "write `cuda`" for name in ("gpu", "cuda:0")},
}
"""(key, value of another tool) -> what to write; list positions stand as 0."""
