#!/usr/bin/env python3
"""Mistakes in configurations."""



from workplace import CONFIG, STEPS, main, with_settings, Workplace


class BadConfigurations(Workplace):
    def test_files(self):
        self.refuse(
            (["train", "nowhere.toml"], "[config]", "'nowhere.toml'", "No such file"),
            (["train", "."], "[config]", "'.'"),
            (self.with_config("[model\nlayers = 2"), ".toml:1 is not valid TOML"),
            (self.with_config(CONFIG + "\nlayers = = 2\n"), ".toml:", "is not valid TOML"),
            (self.with_config(""), "[config]"))

    def test_names(self):
        self.refuse(
            (self.with_config(CONFIG + "\n[optimiser]\nlr = 1\n"), "unknown section 'optimiser'",
             "did you mean 'optimizer'?"),
            (with_settings("train.stesp=3"), "unknown key 'train.stesp'",
             "did you mean 'train.steps'?"),
            (self.with_config(CONFIG.replace("kv_heads", "kvheads")),
             "unknown key 'model.kvheads'", ".toml:6", "'model.kv_heads'"),
            (with_settings("optimizer.name=moun"), '"moun"', "did you mean 'muon'?"),
            (with_settings("correction.name=error_feedbak"), "did you mean 'error_feedback'?"),
            (with_settings("optimizer.group.0.match=*", "optimizer.group.0.nam=muon"),
             "unknown key 'optimizer.group.0.nam'", "'optimizer.group.0.name'"),
            (with_settings("optimizer.group.1.match=*"), "there are 0; call it optimizer.group.0"),
            (with_settings("train.lr_schedule=cosin"), "did you mean 'cosine'?"),
            (self.with_config(CONFIG + "\n[optimizer.group]\nmatch = '*'\n"),
             "'optimizer.group' in ", ".toml:37", "write [[optimizer.group]]"),
            (with_settings("pipeline.schedule=2bv"), '"2bv"', "did you mean '2bw'?"),
            (with_settings("model.preset=nani"), "did you mean 'nano'?"))

    def test_values(self):
        self.refuse(*((with_settings(f"optimizer.lr={value}"), f"optimizer.lr = {value}", rule)
                      for value, rule in (("nan", "not finite"), ("inf", "not finite"),
                                          ("-0.5", "out of range"), ("0", "out of range"),
                                          ('"1"', "a number"), ("fast", "a number"))))
        self.refuse(
            (self.with_config(CONFIG.replace("lr = 1e-2", "lr = nan")), "optimizer.lr = nan",
             ".toml:24", "not finite"),
            (with_settings("train.steps=-1"), "train.steps = -1", "out of range"),
            (with_settings("train.steps=1.5"), "train.steps = 1.5", "whole number"),
            (with_settings("model.layers=0"), "model.layers = 0", "out of range"),
            (with_settings("model.tied=maybe"), "model.tied", "true or false"),
            (with_settings("data.val_fraction=1"), "data.val_fraction", "[0, 1)"),
            (with_settings("train.precision=fp64"), "fp32, bf16"))

    def test_rules_between_values(self):
        self.refuse(
            (with_settings("pipeline.micro_batches=2", "pipeline.stages=3"),
             "pipeline.micro_batches >= pipeline.stages", "they are 2 and 3"),
            (with_settings("pipeline.micro_batches=9", "pipeline.stages=7"),
             "pipeline.stages = 7", "only 6 units"),
            (with_settings("pipeline.partition=[2,3]"), "[2, 3] distributes 5 units", "sum to 6"),
            (with_settings("pipeline.partition=[2,2,2]"), "is for 3 pieces", "pipeline.stages = 2"),
            (with_settings("pipeline.partition=[0,6]"), "[0, 6]"),
            (with_settings("train.tokens=100000"), f"train.steps = {STEPS}",
             "train.tokens = 100000", "remove one"),
            (self.with_config(CONFIG.replace(f"steps = {STEPS}", "")),
             "train.steps or train.tokens"),
            (with_settings(f"train.warmup={STEPS + 1}"), f"train.warmup = {STEPS + 1}",
             f"{STEPS} updates"),
            (with_settings("train.lr_schedule=wsd"), "train.decay = 0", "set it to 1 or more"),
            (with_settings("train.lr_schedule=linear", "train.decay=2"), "train.decay = 2",
             'train.lr_schedule = "wsd"'),
            (with_settings("train.lr_schedule=wsd", f"train.decay={STEPS - 5}"),
             "train.warmup = 6", f"train.decay = {STEPS - 5}", f"{STEPS} updates"),
            (with_settings("train.momentum_warmup=20", "train.momentum_cooldown=10"),
             "train.momentum_warmup = 20", "train.momentum_cooldown = 10", f"{STEPS} updates"),
            (with_settings("optimizer.group.0.lr=0.1"), "optimizer.group.0.match = []",
             "no pattern"),
            (with_settings("correction.name=dc_asgd", "pipeline.schedule=paci", "train.clip=0"),
             "correction 'dc_asgd' needs", "'paci' does not keep them"),
            (with_settings("model.heads=5"), "model.width = 32", "model.heads = 5"),
            (with_settings("model.kv_heads=3"), "model.heads = 4", "model.kv_heads = 3"),
            (with_settings("model.vocab=256"), "model.vocab = 256", "257"))

    def test_the_run_folder(self):
        self.write("in_the_way", "a file")
        self.refuse(*((with_settings(f"output.dir={folder}"), "[output]", f"'{folder}'",
                       "set output.dir") for folder in ("in_the_way", "in_the_way/below")))
        with open(self.path("in_the_way"), encoding="ascii") as file:
            self.assertEqual(file.read(), "a file")


if __name__ == "__main__":
    main()
