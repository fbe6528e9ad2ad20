package sdktest_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/wringdb/wring/sdk/sdktest"
)

// TestSound: a backend that keeps its promises passes.
func TestSound(t *testing.T) {
	sdktest.Run(t, toyFactory(""))
}

// flawVariable has TestFlawed run the suite over a flawed backend; it reaches
// the plugin's process too.
const flawVariable = "SDKTEST_FLAW"

// TestFlawed is a child of TestFlawsAreFound, which expects it to fail.
func TestFlawed(t *testing.T) {
	flaw := os.Getenv(flawVariable)
	if flaw == "" {
		t.Skip("only TestFlawsAreFound runs this, in a process of its own")
	}
	f := toyFactory(flaw)
	f.Env = []string{flawVariable + "=" + flaw}
	switch flaw {
	case "hangs_on_a_truncated_store":
		f.Timeout = 1e9
	case "has_a_constant_digest":
		f.Digest = func(string) (string, error) { return "all is well", nil }
	case "has_a_digest_that_writes":
		f.Digest = func(path string) (string, error) {
			content, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			return string(content), os.WriteFile(path, append(content, 0), 0o600)
		}
	case "skips_the_lock":
		f.Hold, f.Skip = nil, map[string]string{"locked": "toys are never locked", "damaged/text": "toys cannot read"}
	case "skips_without_a_reason":
		f.Skip = map[string]string{"locked": ""}
	case "skips_what_does_not_exist":
		f.Skip = map[string]string{"lokced": "a slip"}
	case "has_no_lock":
		f.Hold = nil
	}
	sdktest.Run(t, f)
}

// TestFlawsAreFound: each flaw makes the case fail that is there for it, with a
// message that says what is wrong. A suite that passes everything is worthless.
func TestFlawsAreFound(t *testing.T) {
	for _, c := range []struct{ flaw, in, message string }{
		{"has_a_constant_digest", "in_process/factory", "the same digest"},
		{"has_a_digest_that_writes", "in_process/factory", "Factory.Digest changes items.toy"},
		{"changes_its_description", "in_process/describe", "Describe changes"},
		{"has_an_invalid_default", "in_process", "default is not valid"},
		{"serves_another", "subprocess/describe", "serves something else than Factory.Backend"},
		{"recognises_everything", "in_process/recognise", "a signature fits a text file"},
		{"writes_while_measuring", "in_process/measure_changes_nothing", "files have changed"},
		{"writes_while_measuring", "subprocess/measure_changes_nothing", "files have changed"},
		{"draws_more_than_there_is", "in_process/measure", "and the store"},
		{"draws_the_dead_alive", "in_process/measure", "of the layers are live"},
		{"draws_uneven_layers", "in_process/measure", "2 cells in layer slots, and 1 in magic"},
		{"draws_uneven_layers", "subprocess/measure", "2 cells in layer slots, and 1 in magic"},
		{"overpromises", "in_process/predict", "compaction gave back"},
		{"loses_an_item", "in_process/compact/rewrite", "the content is another"},
		{"loses_an_item", "subprocess/compact/rewrite", "the content is another"},
		{"forgets_the_mode", "in_process/compact/rewrite", "the store's mode was"},
		{"replaces_a_link", "in_process/compact_symlink", "is one no more"},
		{"leaves_a_temp", "in_process/compact/rewrite", "was left beside the store"},
		{"embellishes_its_result", "in_process/compact/rewrite", "before less after is"},
		{"keeps_a_file_open", "in_process/compact/rewrite", "still has open"},
		{"keeps_a_file_open", "subprocess/compact/rewrite", "still has open"},
		{"reports_shrinking_progress", "in_process/progress", "copy goes back from"},
		{"reports_nothing", "in_process/progress", "came in the middle of the work"},
		{"claims_to_be_done_at_once", "subprocess/progress", "came in the middle of the work"},
		{"reports_too_late", "in_process/(compact)", "after it has returned"},
		{"ignores_the_limit", "in_process/rate_limit", "are due"},
		{"keeps_its_first_limit", "in_process/rate_change", "wait on CompactRequest.Pace"},
		{"keeps_its_first_limit", "subprocess/rate_change", "wait on CompactRequest.Pace"},
		{"conceals_its_mode", "in_process/compact/auto", `"auto" is due, the result says "rewrite"`},
		{"conceals_its_mode", "in_process/modes", `the result says "rewrite"`},
		{"sees_no_room", "in_process/compact/rewrite", "announces an obstacle"},
		{"sees_no_room", "subprocess/compact/rewrite", "announces an obstacle (not enough space"},
		{"panics_on_garbage", "in_process/damaged/garbage", "Fragmentation panics"},
		{"panics_on_garbage", "subprocess/damaged/garbage", "want one of kind"},
		{"returns_untyped_errors", "in_process/damaged/text", "want one of kind"},
		{"returns_untyped_errors", "subprocess/damaged/text", "want one of kind"},
		{"begins_a_store_in_an_empty_file", "in_process/damaged/empty", "files have changed"},
		{"hangs_on_a_truncated_store", "in_process/damaged/truncated", "hangs"},
		{"ignores_the_lock", "in_process/locked", "was not refused"},
		{"ignores_the_lock", "subprocess/locked", "was not refused"},
		{"ignores_cancel", "in_process/cancel", "went on to its end"},
		{"ignores_cancel", "in_process/cancel_before", "want ErrCancelled"},
		{"leaves_a_temp_when_cancelled", "in_process/cancel", "was left beside the store"},
		{"leaves_a_temp_when_cancelled", "subprocess/cancel", "was left beside the store"},
		{"overwrites_in_place", "in_process/cancel", "read the store with the engine's own library"},
		{"overwrites_in_place", "subprocess/killed/at_first", "the plugin was killed"},
		{"sweeps_nothing", "subprocess/killed/at_first", "Sweep has left"},
		{"sweeps_what_is_not_its_own", "in_process/sweep", "files have changed"},
	} {
		t.Run(c.flaw+"/"+c.in, func(t *testing.T) {
			t.Parallel()
			out, failed := runFlawed(t, c.flaw, c.in)
			if !failed {
				t.Fatalf("the suite passes a backend that %s:\n%s", c.flaw, out)
			}
			blamed, _, _ := strings.Cut(c.in, "/(") // (a case) runs, but all of its half fails
			if !strings.Contains(out, "--- FAIL: TestFlawed/"+blamed) || !strings.Contains(out, c.message) {
				t.Errorf("want %s to fail with %q, got\n%s", c.in, c.message, out)
			}
		})
	}
}

// TestSkipping: what a factory skips is said to be skipped and not counted, and
// nothing is skipped by mistake.
func TestSkipping(t *testing.T) {
	out, failed := runFlawed(t, "skips_the_lock", "in_process/(locked|damaged)")
	if failed {
		t.Errorf("the suite fails where cases are skipped for a reason:\n%s", out)
	}
	for _, want := range []string{
		"--- SKIP: TestFlawed/in_process/locked", "toys are never locked",
		"--- SKIP: TestFlawed/in_process/damaged/text", "toys cannot read",
		"1 cases passed, 2 skipped damaged/text, locked",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}

	for mistake, message := range map[string]string{
		"skips_without_a_reason":    `Skip["locked"] needs a reason`,
		"skips_what_does_not_exist": `Skip["lokced"] names no case`,
		"has_no_lock":               "give the Factory a Hold",
	} {
		if out, failed := runFlawed(t, mistake, "in_process/locked"); !failed || !strings.Contains(out, message) {
			t.Errorf("%s: want failure with %q, got\n%s", mistake, message, out)
		}
	}
}

// runFlawed runs one case of the suite over a flawed backend in a process of
// its own.
func runFlawed(t *testing.T, flaw, in string) (output string, failed bool) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(in, "/")
	for i, part := range parts {
		parts[i] = "^" + part + "$"
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.v", "-test.run=^TestFlawed$/"+strings.Join(parts, "/"))
	cmd.Env = append(os.Environ(), flawVariable+"="+flaw)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run the suite over a flawed backend: %v", err)
	}
	return string(out), err != nil
}
