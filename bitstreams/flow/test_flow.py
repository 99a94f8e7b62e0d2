"""Tests of the flow's own judgement: what makes a report stale, and what makes a gate fail. They need no tool of the flow."""

import copy
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest

import durations
import page
import placement
import reports
import sources
import synthesis

TARGET = {"device": "LFE5U-85F", "package": "CABGA381", "speed_grades": [6, 8], "seed": 1}
ENTRY = {"name": "a", "top": "faam_a", "parameters": {}, "mhz_min": 120, "ceilings": {"lut4": 10, "ff": 10, "dp16kd": 1, "mult18": 0},
         "amd_ceilings": {"lut": 9, "ff": 9, "ramb36": 1, "ramb18": 2, "dsp48": 0}}
REPORT = {"xc7": ENTRY["amd_ceilings"], "xcup": ENTRY["amd_ceilings"], "ecp5": {"core": {"lut4": 10, "ff": 10, "dp16kd": 1, "mult18": 0},
                   "speed_grades": {"6": {"fmax_mhz": 90.0, "critical_path": "x"}, "8": {"fmax_mhz": 120.0, "critical_path": "x to y"}}}}


class Sources(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.rtl = pathlib.Path(self.place.name)
        self.write("faam_a", "module faam_a; faam_b b(); // not faam_d\nendmodule")
        self.write("faam_b", "module faam_b; faam_c_pkg::t x; endmodule")
        self.write("faam_c_pkg", "package faam_c_pkg; endpackage")
        self.write("faam_d", "module faam_d; endmodule")

    def tearDown(self):
        self.place.cleanup()

    def write(self, name, text):
        (self.rtl / f"{name}.sv").write_text(text)

    def digest(self):
        return sources.sha256_of(sources.needed_by("faam_a", self.rtl))

    def test_a_top_needs_what_it_names_packages_first(self):
        self.assertEqual([path.stem for path in sources.needed_by("faam_a", self.rtl)], ["faam_c_pkg", "faam_a", "faam_b"])

    def test_a_missing_top_is_told(self):
        with self.assertRaisesRegex(FileNotFoundError, "expected the module faam_z"):
            sources.needed_by("faam_z", self.rtl)

    def test_comments_and_blanks_do_not_make_a_report_stale_code_does(self):
        before = self.digest()
        self.write("faam_b", "// said anew\nmodule  faam_b;\n faam_c_pkg::t x; /* so */ endmodule")
        self.assertEqual(self.digest(), before)
        self.write("faam_d", "module faam_d; logic y; endmodule")
        self.assertEqual(self.digest(), before, "it is not of the top")
        self.write("faam_c_pkg", "package faam_c_pkg; typedef logic t; endpackage")
        self.assertNotEqual(self.digest(), before)

    def test_the_register_map_does_not_make_a_report_stale(self):
        self.write("faam_b", "module faam_b; faam_regs_pkg::t x; endmodule")
        self.write("faam_regs_pkg", "package faam_regs_pkg; localparam int A = 1; endpackage")
        before = self.digest()
        self.write("faam_regs_pkg", "package faam_regs_pkg; localparam int A = 2; endpackage")
        self.assertEqual(self.digest(), before)


class Gates(unittest.TestCase):
    def test_at_its_ceilings_and_its_floor_a_report_passes(self):
        self.assertEqual(reports.gates(TARGET, ENTRY, REPORT), [])

    def test_each_ceiling_fails_alone(self):
        for area in reports.AREAS:
            report = copy.deepcopy(REPORT)
            report["ecp5"]["core"][area] += 1
            [failed] = reports.gates(TARGET, ENTRY, report)
            self.assertTrue(failed.startswith(f"{area}: expected at most"), failed)

    def test_each_ceiling_of_amds_families_fails_alone_and_on_either(self):
        for family, title in synthesis.AMD_FAMILIES.items():
            for area in reports.AMD_AREAS:
                report = copy.deepcopy(REPORT)
                report[family] = {**report[family], area: ENTRY["amd_ceilings"][area] + 1}
                [failed] = reports.gates(TARGET, ENTRY, report)
                self.assertTrue(failed.startswith(f"{title}, {area}: expected at most"), failed)
                self.assertEqual(reports.gates(TARGET, {**ENTRY, "amd": False}, report), [])

    def test_a_family_that_is_missing_or_one_too_many_is_told(self):
        self.assertEqual(reports.amd_faults(ENTRY, REPORT), [])
        [fault] = reports.amd_faults(ENTRY, {"ecp5": {}, "xc7": {}})
        self.assertEqual(fault, "area on UltraScale+: not in the report: make bitstream ONLY=a ARGS=--area")
        self.assertEqual(len(reports.amd_faults({**ENTRY, "amd": False}, REPORT)), 2)
        self.assertEqual(reports.amd_faults({**ENTRY, "amd": False}, {"ecp5": {}}), [])

    def test_the_floor_holds_at_the_fastest_grade(self):
        report = copy.deepcopy(REPORT)
        report["ecp5"]["speed_grades"]["8"]["fmax_mhz"] = 119.9
        [failed] = reports.gates(TARGET, ENTRY, report)
        self.assertIn("expected 120 MHz or more, found 119.9: x to y", failed)


class Placing(unittest.TestCase):
    """A report's place and route has to be of what the configuration asks for now."""

    def faults(self, entry, **ecp5):
        return reports.placing_faults(TARGET, entry, {**REPORT["ecp5"], "mhz_min": 120, **ecp5})

    def test_one_of_these_grades_and_this_floor_passes(self):
        self.assertEqual(self.faults(ENTRY), [])
        self.assertEqual(self.faults({**ENTRY, "mhz_wanted": 130}, mhz_wanted=130), [])
        self.assertEqual(self.faults({**ENTRY, "place": False}, mhz_min=1, speed_grades={}), [])

    def test_a_speed_grade_that_is_missing_or_one_too_many_is_told(self):
        [fault] = self.faults(ENTRY, speed_grades={"8": {}})
        self.assertEqual(fault, "speed grades: expected [6, 8], the report has [8]: make bitstream ONLY=a")
        [fault] = self.faults({**ENTRY, "speed_grades": [8]})
        self.assertIn("expected [8], the report has [6, 8]", fault)

    def test_a_floor_that_nextpnr_did_not_hold_is_told(self):
        [fault] = self.faults(ENTRY, mhz_min=100)
        self.assertIn("clocks: expected {'mhz_min': 120}, the report has {'mhz_min': 100}", fault)

    def test_a_clock_that_was_not_worked_towards_is_told(self):
        [fault] = self.faults({**ENTRY, "mhz_wanted": 130})
        self.assertIn("'mhz_wanted': 130", fault)

    def test_without_a_floor_any_clock_passes_and_what_was_worked_towards_is_kept(self):
        entry = {key: value for key, value in ENTRY.items() if key != "mhz_min"} | {"mhz_wanted": 130}
        self.assertEqual(reports.clocks(entry), {"mhz_wanted": 130})
        self.assertEqual(reports.gates(TARGET, entry, REPORT), [])
        [fault] = reports.placing_faults(TARGET, entry, {**REPORT["ecp5"], "mhz_wanted": 120})
        self.assertIn("expected {'mhz_wanted': 130}, the report has {'mhz_wanted': 120}", fault)

    def test_one_that_was_not_placed_is_told_without_a_traceback(self):
        self.assertEqual(reports.gates(TARGET, ENTRY, {"ecp5": {"core": REPORT["ecp5"]["core"]}}), [])
        self.assertEqual(len(reports.placing_faults(TARGET, ENTRY, {})), 2)


class Durations(unittest.TestCase):
    def run_one(self, watch, step, code):
        with watch.time(step):
            process = subprocess.Popen([sys.executable, "-c", f"sum(range(3_000_000)); raise SystemExit({code})"])
            if durations.wait(process, 60):
                raise synthesis.FlowError("no")

    def test_a_step_that_ends_is_timed_one_that_fails_is_not(self):
        watch, before = durations.Watch(), durations.spent()
        self.run_one(watch, "ecp5", 0)
        self.assertGreater(durations.spent(), before)
        self.assertEqual(list(watch.seconds), ["ecp5"])
        with self.assertRaises(synthesis.FlowError):
            self.run_one(watch, "xc7", 3)
        self.assertEqual(list(watch.seconds), ["ecp5"])

    def test_one_thread_does_not_count_anothers(self):
        other = threading.Thread(target=lambda: self.run_one(durations.Watch(), "xc7", 0))
        before = durations.spent()
        other.start()
        other.join()
        self.assertEqual(durations.spent(), before)

    def test_a_process_that_does_not_end_is_told(self):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        with self.assertRaises(subprocess.TimeoutExpired):
            durations.wait(process, 0)
        process.communicate(b"\n")


class Page(unittest.TestCase):
    def test_what_is_counted_first_is_read_twice(self):
        counted = {"counted_bytes": 16384}
        self.assertEqual([page.passes_of(counted, size) for size in (8192, 65536)], [2.0, 1.25])
        self.assertEqual(page.passes_of({}, 65536), 1.0)

    def test_a_lane_is_told_from_farms_of_one_engine_where_there_are_such(self):
        entries = {name: {"parameters": {"ENGINES": count, "WAYS": ways}} for name, count, ways in (("p", 1, 4), ("q", 2, 1), ("r", 4, 1))}
        rests = [(name, count, {"lut4": lut4, "dp16kd": 8}) for name, count, lut4 in (("p", 1, 100), ("q", 2, 150), ("r", 4, 170))]
        words, more = page.a_lane(entries, rests)
        self.assertEqual(more, {"lut4": 10.0, "dp16kd": 0.0})
        self.assertTrue(words.startswith("From `q` to `r` each lane adds about 10 LUT4"), words)
        self.assertIn("of different kinds", page.a_lane(entries, rests[:2])[0])
        words, more = page.a_lane(entries, rests[:1])
        self.assertEqual(more, {"lut4": 0, "dp16kd": 0})
        self.assertIn("an upper bound", words)


class Reading(unittest.TestCase):
    def test_the_critical_path_is_told_from_register_to_register(self):
        def step(kind, delay, start, end):
            return {"type": kind, "delay": delay, "from": {"cell": start, "port": "Q"}, "to": {"cell": end, "port": "A"}}
        slow = [step("clk-to-q", 0.5, "core.a_TRELLIS_FF_Q", "core.a_TRELLIS_FF_Q"), step("routing", 1.0, "core.a_TRELLIS_FF_Q", "core.s_LUT4_Z"),
                step("logic", 0.2, "core.s_LUT4_Z", "core.s_LUT4_Z"), step("routing", 0.7, "core.s_LUT4_Z", "core.b_TRELLIS_FF_Q_3"),
                step("setup", 0.1, "core.b_TRELLIS_FF_Q_3", "core.b_TRELLIS_FF_Q_3")]
        quick = [step("clk-to-q", 0.5, "p", "p"), step("setup", 0.0, "q", "q")]
        across = [step("clk-to-q", 9.0, "p", "p")]
        report = {"critical_paths": [{"from": "clk", "to": "clk", "path": quick}, {"from": "clk", "to": "clk", "path": slow},
                                     {"from": "clk", "to": "<async>", "path": across}]}
        self.assertEqual(placement.path_in_words(report),
                         "core.a to core.b through 1 level of logic (core.s): 2.50 ns, of it 0.50 ns out of the register, "
                         "0.20 ns logic, 1.70 ns routing, 0.10 ns set-up")

    def test_the_idcode_is_that_of_verify_id(self):
        self.assertEqual(placement.idcode_of(b"\xff\xff\xbd\xb3\xe2\0\0\0\x41\x11\x30\x43\x22"), 0x41113043)
        with self.assertRaisesRegex(synthesis.FlowError, "VERIFY_ID"):
            placement.idcode_of(b"\xff" * 64)

    def test_the_wrapper_connects_every_port_once(self):
        text = synthesis.wrapper("faam_a", {"WAYS": 2}, [("clk", "input", 1), ("rst", "input", 1), ("x", "input", 8), ("y", "output", 4)])
        self.assertIn("faam_pins #(.INPUTS(9), .OUTPUTS(4)) pins (.*);", text)
        self.assertIn("faam_a #(.WAYS(2)) core (", text)
        for port in (".clk(clk)", ".rst(to_core[0:0])", ".x(to_core[8:1])", ".y(from_core[3:0])"):
            self.assertEqual(text.count(port), 1, port)


if __name__ == "__main__":
    unittest.main()
