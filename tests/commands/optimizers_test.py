#!/usr/bin/env python3
"""The list of optimizers and corrections, and the routes of a configuration."""

import json
import pathlib
import unittest

from workplace import main, with_settings, Workplace

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "optimizers.md"
BEGIN = "<!-- begin: penstock optimizers --markdown -->\n"
END = "<!-- end: penstock optimizers --markdown -->\n"
# By rule: m and v of AdamW, Muon's momentum, Adan's three averages and the last gradient, the last
# update of error feedback.
STATE_BYTES = {"adamw": 8, "muon": 4, "lion": 4, "signum": 4, "adan": 16, "none": 0,
               "error_feedback": 4, "staleness_lr": 0}
MUON = ["--set", "optimizer.name=muon"]


class Optimizers(Workplace):
    def components(self, *arguments):
        return json.loads(self.succeed("optimizers", *arguments, "--json").splitlines()[-1])

    def routes(self, *settings):
        overrides = [part for setting in settings for part in ("--set", setting)]
        return self.components("--config", "a.toml", *overrides)

    def test_everything_is_listed_with_options_state_and_source(self):
        listed = self.components()
        text = self.succeed("optimizers")
        both = listed["optimizers"] + listed["corrections"]
        self.assertEqual(listed["optimizers"][0]["name"], "adamw")
        self.assertEqual(listed["corrections"][0]["name"], "none")
        for component in both:
            self.assertIn(f"\n{component['name']}: {component['summary']}\n", text)
            self.assertIn(component["source"], text)
            self.assertTrue(component["source"] or component["name"] == "none", component["name"])
            self.assertTrue(component["state"])
            for option in component["options"]:
                self.assertIn(f"    {option['key']} = {option['default']}    (", text)
                self.assertIn(f"        {option['help']}\n", text)
                # These are a group's own.
                self.assertNotIn(option["key"], ("name", "match", "lr_factor"))
        for name, value in STATE_BYTES.items():
            component, = [item for item in both if item["name"] == name]
            for state in component["state"]:
                self.assertAlmostEqual(state["bytes_per_parameter"], value, delta=0.005, msg=name)

    def test_matrix_optimizers_have_no_state_for_vectors(self):
        muon, = self.components("muon")["optimizers"]
        adamw, = self.components("adamw")["optimizers"]
        self.assertTrue(muon["takes_matrices_only"])
        self.assertEqual({len(state["shape"]) for state in muon["state"]}, {2})
        self.assertEqual({len(state["shape"]) for state in adamw["state"]}, {1, 2})
        self.assertIn("[optimizer.fallback]", self.succeed("optimizers", "muon"))

    def test_one_of_them(self):
        listed = self.components("error_feedback")
        self.assertEqual(listed["optimizers"], [])
        self.assertEqual([item["name"] for item in listed["corrections"]], ["error_feedback"])
        text = self.succeed("optimizers", "adamw")
        self.assertIn("beta2 = 0.95    (number in [0, 1))", text)
        self.assertNotIn("muon:", text)
        self.assertNotIn("corrections", text)

    def test_the_default_routes(self):
        routes = self.routes("optimizer.name=muon")
        self.assertEqual([rule["rule"] for rule in routes["rules"]],
                         ["optimizer", "optimizer.fallback"])
        self.assertEqual([rule["optimizer"] for rule in routes["rules"]], ["muon", "adamw"])
        names = [parameter["name"] for parameter in routes["parameters"]]
        self.assertEqual(len(names), len(set(names)))
        for parameter in routes["parameters"]:
            is_block_matrix = "_proj." in parameter["name"]
            is_gain = "norm" in parameter["name"]
            self.assertEqual(parameter["optimizer"], "muon" if is_block_matrix else "adamw")
            self.assertEqual(parameter["weight_decay"], 0 if is_gain else 0.1)
            count = 1
            for size in parameter["shape"]:
                count *= size
            # Beside the tensors, an optimizer may keep a few numbers of 8 bytes.
            self.assertIn(parameter["state_bytes"] - count * (4 if is_block_matrix else 8),
                          range(0, 33, 8))
        self.assertEqual(sum(rule["elements"] for rule in routes["rules"]),
                         2 * (32 * 32 * 2 + 16 * 32 * 2 + 3 * 32 * 48 + 2 * 32) + 32 + 2 * 257 * 32)
        self.assertEqual(routes["optimizer_state_bytes"],
                         sum(item["state_bytes"] for item in routes["parameters"]))
        self.assertEqual(routes["correction_state_bytes"], 0)

    def test_groups(self):
        settings = ("optimizer.group.0.match=*.0.*norm*", "optimizer.group.0.lr_factor=0.5",
                    "optimizer.group.1.match=['*norm*', 'lm_head.*']",
                    "optimizer.group.1.name=signum", "correction.name=error_feedback")
        routes = self.routes(*settings)
        first, second, rest = routes["rules"]
        self.assertEqual((first["parameters"], second["parameters"], rest["parameters"]),
                         (2, 4, 15))
        self.assertEqual((first["lr"], second["lr"], rest["lr"]), (0.005, 0.0002, 0.01))
        self.assertEqual(second["patterns"], ["*norm*", "lm_head.*"])
        self.assertEqual(routes["correction_state_bytes"],
                         4 * sum(rule["elements"] for rule in routes["rules"]))
        arguments = [part for setting in settings for part in ("--set", setting)]
        text = self.succeed("optimizers", "--config", "a.toml", *arguments)
        self.assertRegex(text, r"(?m)^optimizer\.group\.0 +adamw +0\.005 \(x 0\.5\) +0 +2 +64 +"
                               r"\*\.0\.\*norm\*$")
        self.assertRegex(text, r"(?m)^state: optimizers .* MiB, correction 'error_feedback' .* MiB$")

    def test_a_tied_head_is_the_embedding(self):
        untied, tied = self.routes(), self.routes("model.tied=true")
        names = [item["name"] for item in tied["parameters"]]
        self.assertNotIn("lm_head.weight", names)
        self.assertEqual(len(names) + 1, len(untied["parameters"]))

    def test_mistakes(self):
        config = ["optimizers", "--config", "a.toml", "--set"]
        self.refuse(
            (["optimizers", "moun"], "[command line] no optimizer or correction is called 'moun'",
             "did you mean 'muon'?", "the optimizers are adamw, ", "the corrections none, "),
            (["optimizers", "muon", "--config", "a.toml"], "[command line]", "--config"),
            (["optimizers", "--set", "train.steps=1"], "[command line]", "--config"),
            (["optimizers", "--markdown", "--json"], "[command line]", "--markdown"),
            (["optimizers", "--config", "none.toml"], "[config] cannot read 'none.toml'"),
            ([*config, "optimizer.group.0.match=*.qproj.*"],
             '[config] optimizer.group.0.match: the pattern "*.qproj.*" matches none of the 21 '
             'parameters; did you mean "*.q_proj.*"?'),
            ([*config, "optimizer.group.0.match=*norm*", *MUON],
             "'model.layers.0.input_layernorm.weight' of shape 32 with optimizer 'muon', which "
             "takes matrices only"),
            ([*config, "optimizer.group.0.match=*", "--set", "optimizer.group.1.match=*norm*"],
             "[config] optimizer.group.1 gets no parameter"),
            ([*config, "optimizer.group.0.match=*", "--set", "optimizer.group.0.name=adan0"],
             "did you mean 'adan'?"))

    def test_mistakes_in_routes_end_a_run_before_it_begins(self):
        train = ["train", "a.toml", "--set"]
        self.refuse(
            ([*train, "optimizer.group.0.match=*.qproj.*"], "matches none of the 21 parameters"),
            ([*train, "optimizer.group.0.match=*norm*", *MUON], "takes matrices only"),
            ([*train, "optimizer.group.0.match=*", "--set", "optimizer.group.1.match=*norm*"],
             "gets no parameter"))

    def test_states_that_no_memory_holds_end_a_run_before_it_begins(self):
        # Matrices of 786432 rows and columns: 2 TiB each.
        self.refuse(
            (with_settings("model.width=786432"), "[config] the optimizers' state takes", "(adamw ",
             "of shape 786432 x 786432: 4.50 TiB", "GiB of memory"),
            # Of its bases, one of which is for the longer side.
            (with_settings("model.ff=786432", "optimizer.name=soap", "optimizer.max_dim=1000000"),
             "[config] the optimizers' state takes", "(soap ", "of shape 786432 x 32: ",
             "GiB of memory"))

    def test_the_document_holds_the_list(self):
        text = DOCUMENT.read_text(encoding="utf-8")
        self.assertEqual((text.count(BEGIN), text.count(END)), (1, 1))
        generated = text.split(BEGIN)[1].split(END)[0]
        self.assertEqual(generated, self.succeed("optimizers", "--markdown"),
                         "replace what is between the two marks of docs/optimizers.md by the output "
                         "of ./penstock optimizers --markdown")


if __name__ == "__main__":
    main()
