#!/usr/bin/env python3
"""Tests of check_includes.py: python3 tests/architecture/check_includes_test.py"""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import check_includes

TABLE = """
base:             # nothing
data:  base
model: base
cli:   *
pure: base data
"""


class CheckIncludes(unittest.TestCase):
    def run_on(self, files, table=TABLE):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            files = {"tests/architecture/dependencies.txt": table, **files}
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            with contextlib.redirect_stdout(io.StringIO()) as output:
                status = check_includes.main(root)
        return status, output.getvalue().splitlines()

    def assert_refused(self, files, line, table=TABLE):
        status, lines = self.run_on(files, table)
        self.assertEqual(status, 1)
        self.assertEqual(lines[0], line)

    def test_allowed_includes_pass(self):
        status, lines = self.run_on({
            "src/data/a.cpp": '#include <vector>\n#include "base/b.h"\n#include "data/a.h"\n',
            "src/model/m.cpp": "#include <torch/torch.h>\n",
            "src/cli/c.cpp": '#include "model/m.h"\n// #include "nowhere.h"\n',
        })
        self.assertEqual((status, lines), (0, ["3 files checked, 0 problems"]))

    def test_forbidden_folder(self):
        self.assert_refused({"src/data/a.h": '#pragma once\n  #  include "model/m.h"\n'},
                            "src/data/a.h:2: data may not include model (model/m.h)")

    def test_torch_in_a_pure_folder(self):
        for header in ("<torch/torch.h>", "<ATen/ATen.h>", '"c10/util/Half.h"'):
            self.assert_refused({"src/data/a.h": f"#include {header}\n"},
                                "src/data/a.h:1: data compiles without LibTorch, so it may not "
                                f"include {header[1:-1]}")

    def test_include_not_from_src(self):
        self.assert_refused({"src/data/a.cpp": '#include "a.h"\n'},
                            'src/data/a.cpp:1: "a.h" must be written from src/, as "data/a.h"')

    def test_unknown_folders(self):
        self.assert_refused({"src/data/a.cpp": '#include "utils/a.h"\n'},
                            'src/data/a.cpp:1: "utils/a.h" is not in a folder of dependencies.txt')
        self.assert_refused({"src/utils/a.cpp": ""},
                            "src/utils/a.cpp:1: not in a folder of dependencies.txt")

    def test_nested_folders_count_as_their_first(self):
        self.assert_refused({"src/data/deep/a.h": '#include "model/m.h"\n'},
                            "src/data/deep/a.h:1: data may not include model (model/m.h)")

    def test_no_sources_is_a_failure(self):
        self.assertEqual(self.run_on({})[0], 1)

    def test_wrong_tables(self):
        for table, reason in {
            "base": "line 1: expected 'folder: other folders', got 'base'",
            "base:\nbase:": "line 2: base has two lines",
            "base: nothing": "base names nothing, which has no line",
            "a: b\nb: c\nc: a": "the folders form a cycle: a -> b -> c -> a",
            "a: b\nb:\npure: a": "a is pure but may include b, which is not",
        }.items():
            self.assert_refused({}, f"tests/architecture/dependencies.txt: {reason}", table)


if __name__ == "__main__":
    unittest.main()
