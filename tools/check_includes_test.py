#!/usr/bin/env python3
"""Tests of check_includes.py: python3 tools/check_includes_test.py"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_includes  # noqa: E402


class Tree(unittest.TestCase):
    """Each test writes a small tree and looks at the offences."""

    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        for folder in ("base", "sys", "sched", "oci", "store", "container", "pod", "engine", "cri", "cmd"):
            os.makedirs(os.path.join(self.root, "src", folder))

    def write(self, path, text):
        full = os.path.join(self.root, "src", path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def offences(self):
        return [str(offence) for offence in check_includes.check(self.root)]

    def assert_one(self, *parts):
        offences = self.offences()
        self.assertEqual(len(offences), 1, offences)
        for part in parts:
            self.assertIn(part, offences[0])

    def test_a_clean_tree_has_no_offence(self):
        self.write("store/a.cc", '#include "store/a.h"\n#include "sys/x.h"\n#include "base/s.h"\n#include <vector>\n')
        self.write("store/CMakeLists.txt", "davit_library(store\n  SOURCES a.cc\n  DEPS sys sched oci base)\n")
        self.write("engine/e.cc", '#include "pod/p.h"\n#include "container/c.h"\n')
        self.write("cmd/davitd/main.cc", '#include "flags.h"\n#include "cri/service.h"\n')
        self.assertEqual(self.offences(), [])

    def test_upward_include_is_named_with_its_line(self):
        self.write("store/a.cc", '#include "store/a.h"\n\n#  include "engine/e.h"\n')
        self.assert_one("src/store/a.cc:3:", "upward")

    def test_no_arrow_between_pod_and_container(self):
        self.write("pod/p.cc", '#include "container/c.h"\n')
        self.assert_one("src/pod/p.cc:1:", "no arrow between pod and container")

    def test_sideways_includes_need_a_row_in_the_table(self):
        self.write("oci/o.cc", '#include "sys/x.h"\n')
        self.assert_one("oci -> sys")

    def test_base_uses_nothing(self):
        self.write("base/b.cc", '#include "sys/x.h"\n')
        self.assert_one("base -> sys")

    def test_an_unknown_folder_is_an_offence(self):
        self.write("misc/m.cc", '#include "sys/x.h"\n')
        self.assert_one("misc is not in the table")

    def test_includes_without_their_folder(self):
        self.write("store/a.cc", '#include "a.h"\n')
        self.assert_one('write the folder too ("store/a.h")')

    def test_commented_includes_do_not_count(self):
        self.write("store/a.cc", '// #include "engine/e.h"\n')
        self.assertEqual(self.offences(), [])

    def test_generated_code_is_not_a_folder(self):
        os.makedirs(os.path.join(self.root, "src", "runtime"))
        self.write("cri/c.h", '#include "runtime/v1/cri.pb.h"\n')
        self.assertEqual(self.offences(), [])

    def test_tests_may_use_sys_and_sched(self):
        self.write("oci/o_test.cc", '#include "sys/x.h"\n')
        self.write("oci/fake_o.cc", '#include "sched/x.h"\n')
        self.write("oci/p_test.cc", '#include "engine/x.h"\n')
        self.assert_one("src/oci/p_test.cc:1:")

    def test_heavy_libraries_stay_out_of_public_headers(self):
        self.write("store/a.h", "#include <boost/json.hpp>\n")
        self.write("store/a.cc", "#include <boost/json.hpp>\n")
        self.write("oci/json.h", "#include <boost/json/value.hpp>\n")
        self.write("cri/service.h", "#include <grpcpp/grpcpp.h>\n")
        self.assert_one("src/store/a.h:1:", "Boost.JSON")

    def test_link_lists_are_held_to_the_same_table(self):
        self.write("store/CMakeLists.txt", "# davit_library(store DEPS engine)\n\ndavit_library(store\n"
                                           "  SOURCES a.cc  # DEPS cri\n  DEPS base engine)\n")
        self.write("engine/CMakeLists.txt", "davit_library(engine SOURCES e.cc DEPS base)\n")
        self.assert_one("src/store/CMakeLists.txt:3:", "links engine", "upward")

    def test_second_library_of_a_folder_belongs_to_it(self):
        self.write("engine/CMakeLists.txt", "davit_library(engine_wire SOURCES e.cc)\n")
        self.write("store/CMakeLists.txt", "davit_library(store SOURCES a.cc LIBS davit_engine_wire)\n")
        self.assert_one("links engine_wire")

    def test_a_cycle_is_printed(self):
        self.write("cmd/a.cc", '#include "cri/c.h"\n')
        self.write("cri/c.cc", '#include "cmd/a.h"\n')
        self.assertTrue(any("cycle: cmd -> cri -> cmd" in offence for offence in self.offences()), self.offences())

    def test_graph_shows_real_arrows_without_tests(self):
        self.write("store/a.cc", '#include "sys/x.h"\n#include "base/s.h"\n')
        self.write("store/a_test.cc", '#include "oci/x.h"\n')
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(check_includes.main(["--root", self.root, "--graph"]), 0)
        self.assertIn("L2 store      -> sys, base\n", out.getvalue())
        self.assertNotIn("oci, ", out.getvalue())

    def test_exit_code_says_whether_there_are_offences(self):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(check_includes.main(["--root", self.root]), 0)
            self.write("base/b.cc", '#include "sys/x.h"\n')
            self.assertEqual(check_includes.main(["--root", self.root]), 1)

    @unittest.skipUnless(shutil.which("g++"), "needs g++")
    def test_headers_that_lean_on_others_are_found_and_fixed_ones_pass(self):
        build = os.path.join(self.root, "build")
        self.write("base/good.h", "#pragma once\n#include <string>\ninline std::string F() { return {}; }\n")
        self.write("base/bad.h", "#pragma once\nstd::string G();\n")
        offences = check_includes.check_headers(self.root, build, "g++", 2)
        self.assertEqual([offence.path for offence in offences], ["src/base/bad.h"])
        self.write("base/bad.h", "#pragma once\n#include <string>\nstd::string G();\n")
        self.assertEqual(check_includes.check_headers(self.root, build, "g++", 2), [])
        # All passed and nothing has changed: the compiler is not run again.
        self.assertEqual(check_includes.check_headers(self.root, build, "/nonexistent/compiler", 2), [])


class Table(unittest.TestCase):
    def test_the_table_has_no_cycle_and_never_goes_up(self):
        self.assertIsNone(check_includes.find_cycle(check_includes.ALLOWED))
        for folder, targets in check_includes.ALLOWED.items():
            for target in targets:
                arrow = f"{folder} -> {target}"
                self.assertLessEqual(check_includes.LAYER[target], check_includes.LAYER[folder], arrow)


if __name__ == "__main__":
    unittest.main()
