package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// messagesOf returns the summaries of all mistakes in the source as patterns,
// by the place that reports them: the second argument of report and
// reportMissing, and the errors in values.go and optionValue that have a second
// line.
func messagesOf(t *testing.T) map[string]*regexp.Regexp {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*regexp.Regexp)
	set := token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			var text string
			switch name := calledName(call); {
			case (name == "report" || name == "reportMissing") && len(call.Args) == 3:
				text = literal(call.Args[1])
			case name == "Errorf" || name == "New":
				if what, _, two := strings.Cut(literal(call.Args[0]), "\n"); two {
					text = what
				}
			}
			if text != "" {
				position := set.Position(call.Pos())
				found[fmt.Sprintf("%s:%d", position.Filename, position.Line)] = pattern(text)
			}
			return true
		})
	}
	return found
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return ""
}

// literal returns a string, or the format of a Sprintf; "" for all else.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(e.Value)
		return s
	case *ast.CallExpr:
		if calledName(e) == "Sprintf" {
			return literal(e.Args[0])
		}
	case *ast.BinaryExpr:
		if left := literal(e.X); left != "" {
			return left
		}
		return literal(e.Y)
	}
	return ""
}

var verb = regexp.MustCompile(`%%|%[a-z]`)

// pattern matches what a format can become, within a line.
func pattern(format string) *regexp.Regexp {
	var b strings.Builder
	last := 0
	for _, at := range verb.FindAllStringIndex(format, -1) {
		b.WriteString(regexp.QuoteMeta(format[last:at[0]]))
		if format[at[0]:at[1]] == "%%" {
			b.WriteString("%")
		} else {
			b.WriteString(".+")
		}
		last = at[1]
	}
	b.WriteString(regexp.QuoteMeta(format[last:]))
	return regexp.MustCompile(b.String())
}
