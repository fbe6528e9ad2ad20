package habits

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const modulePath = "github.com/wringdb/wring"

// root is the directory of the main module, seen from this package's.
const root = "../.."

// systems are those that the project supports; files behind build tags give
// each its own imports.
var systems = []string{"linux", "darwin"}

// A pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	// ForTest is set on the variants of a package that are compiled for tests.
	ForTest      string
	Module       *struct{ Path string }
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// A graph is packages by import path.
type graph map[string]*pkg

// listPackages returns the packages of the module at dir, as they are on the
// system goos, and all that they and their tests depend on.
func listPackages(dir, goos string) (graph, error) {
	cmd := exec.Command("go", "list", "-deps", "-test",
		"-json=ImportPath,ForTest,Module,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS="+goos)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages of %s on %s: %w\n%s", dir, goos, err, stderr.String())
	}
	g := graph{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return g, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the answer of go list: %w", err)
		}
		if p.ForTest == "" && !strings.HasSuffix(p.ImportPath, ".test") {
			g[p.ImportPath] = &p
		}
	}
}

// loadGraph returns the main module's graph. go list runs in a process of its
// own, so the test's result may come from the cache after a change that only
// go list sees; it does not, because TestPackageComments opens every file.
func loadGraph(t *testing.T, goos string) graph {
	t.Helper()
	g, err := graphs[goos]()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var graphs = func() map[string]func() (graph, error) {
	m := map[string]func() (graph, error){}
	for _, goos := range systems {
		m[goos] = sync.OnceValues(func() (graph, error) { return listPackages(root, goos) })
	}
	return m
}()

// own returns the import paths of the module's packages, sorted.
func (g graph) own() []string {
	var paths []string
	for path, p := range g {
		if p.Module != nil && p.Module.Path == modulePath {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// find returns a shortest chain of imports that starts with one of first,
// imported by from, and ends with a package for which wanted holds. It does not
// look behind a package for which stop holds. It returns nil if there is none.
func (g graph) find(from string, first []string, wanted, stop func(path string) bool) []string {
	type step struct {
		path string
		by   *step
	}
	seen := map[string]bool{from: true}
	queue := []*step{}
	add := func(by *step, imports []string) {
		for _, path := range imports {
			if !seen[path] {
				seen[path] = true
				queue = append(queue, &step{path, by})
			}
		}
	}
	add(&step{path: from}, first)
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if wanted(at.path) {
			var chain []string
			for ; at != nil; at = at.by {
				chain = append(chain, at.path)
			}
			slices.Reverse(chain)
			return chain
		}
		if p := g[at.path]; p != nil && !stop(at.path) {
			add(at, p.Imports)
		}
	}
	return nil
}

// sourceFiles returns the paths, from root, of all files with one of the
// extensions in the main module and in those that live in the same repository.
func sourceFiles(t *testing.T, extensions ...string) []string {
	t.Helper()
	// Where nothing is that people have written.
	skipped := []string{"bin", "demo", "dist", "core/dashboard/dist", "bench/out"}
	var files []string
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			name := entry.Name()
			if rel != "." && strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" ||
				slices.Contains(skipped, filepath.ToSlash(rel)) {
				return filepath.SkipDir
			}
			return nil
		}
		if slices.Contains(extensions, filepath.Ext(path)) {
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk the repository: %v", err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d files in %s: looked in the wrong place?", len(files), root)
	}
	return files
}
