# SPDX-License-Identifier: GPL-2.0
"""Messages of compilers and mails of patches."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import check, mbox, ui  # noqa: E402
from lib.robots import builds  # noqa: E402


class Messages(unittest.TestCase):
    """What counts as the same message before and after a patch."""

    LOG = """\
  CC      drivers/iommu/iommu.o
../drivers/iommu/iommu.c:120:9: warning: unused variable 'x' [-Wunused-variable]
/home/u/.cache/atc-fence/linux/check/include/linux/iommu.h:7: warning: missing 3 things
drivers/pci/pci.c:5:1: error: expected ';' before '}' token
make[2]: *** [drivers/pci/pci.o] Error 1
"""

    def test_paths_are_those_of_the_tree(self):
        """Relative, absolute and out-of-tree paths are one."""
        self.assertEqual({path for path, _ in builds.normalised(self.LOG)},
                         {"drivers/iommu/iommu.c", "include/linux/iommu.h",
                          "drivers/pci/pci.c"})

    def test_a_moved_line_is_no_news(self):
        """A patch above a warning moves it."""
        self.assertEqual(builds.normalised(self.LOG),
                         builds.normalised(self.LOG.replace(":120:9:", ":130:12:")))

    def test_another_message_is_news(self):
        """The same file and kind, another variable."""
        self.assertNotEqual(builds.normalised(self.LOG),
                            builds.normalised(self.LOG.replace("'x'", "'y'")))


class Canary(unittest.TestCase):
    """A checker that does not see its defect is named."""

    SEEN = {"build arm64-on": "variable 'bench_canary_unused' set but not used, "
                              "incorrect type in initializer",
            "build arm64-off": "", "checkpatch": "trailing whitespace, invalidtion",
            "kernel-doc": "bench_canary_missing"}

    def missed(self, **change):
        """What is missed if some checker says something else."""
        says = {kind: [text] for kind, text in self.SEEN.items()}
        for kind, text in change.items():
            says[kind.replace("_", " ").replace("arm64 on", "arm64-on")
                 .replace("kernel doc", "kernel-doc")] = [text]
        return check.canary_missed(says)

    def test_all_seen(self):
        """Nothing is missed."""
        self.assertEqual(self.missed(), [])

    def test_each_missed(self):
        """Each checker that is deaf is named."""
        self.assertEqual(self.missed(build_arm64_on="incorrect type in initializer"), ["build"])
        self.assertEqual(self.missed(build_arm64_on="'bench_canary_unused' set but"),
                         ["build", "sparse"])
        self.assertEqual(self.missed(checkpatch="invalidtion"), ["checkpatch"])
        self.assertEqual(self.missed(checkpatch="trailing whitespace"), ["codespell"])
        self.assertEqual(self.missed(kernel_doc="fine"), ["kernel-doc"])


class SignOff(unittest.TestCase):
    """The sender's sign-off is the last trailer."""

    def test_joins_the_trailers(self):
        """Behind Assisted-by:, without a gap."""
        self.assertEqual(mbox.signed("a: B\n\nWhy.\n\nAssisted-by: LLM\n", "A <a@b.c>"),
                         "a: B\n\nWhy.\n\nAssisted-by: LLM\nSigned-off-by: A <a@b.c>\n")

    def test_starts_the_trailers(self):
        """A message that ends with prose."""
        self.assertEqual(mbox.signed("a: B\n\nNote: this is prose\nof two lines.",
                                     "A <a@b.c>"),
                         "a: B\n\nNote: this is prose\nof two lines.\n\n"
                         "Signed-off-by: A <a@b.c>\n")

    def test_refuses_nobody(self):
        """A sign-off is a name and an address."""
        for text in ("", "Ada", "ada@example.org", "Ada <x>"):
            with self.assertRaises(ui.Stop):
                mbox.sender(text)


if __name__ == "__main__":
    unittest.main()
