package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/wringdb/wring/sdk"
)

// Describer answers what a plugin says of itself. Options and modes are checked
// against the answer.
type Describer interface {
	Describe(ctx context.Context, p Plugin) (sdk.Description, error)
}

// ErrUnchecked is what a Describer returns, perhaps wrapped, for a plugin that
// does not answer but shall not be called a mistake: the options and modes of
// its stores are taken as they are.
var ErrUnchecked = errors.New("plugin is not asked")

// maxFile bounds a configuration, in bytes: room for some 20 000 stores.
const maxFile = 4 << 20

// Load reads and checks the configuration in a file. Its error is a
// *Diagnostics that has every mistake.
//
// Relative paths in the file are taken from the directory of the file.
//
// The function describer, unless it is nil, is called once with what is known of
// the configuration by then, PluginDirs and Plugins included; it may return nil.
// Without a describer the plugins' options and modes are taken as they are, and
// so are secrets and commands, which the user who asks may not be able to see.
func Load(ctx context.Context, path string, describer func(*Config) Describer) (*Config, error) {
	src, err := read(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return parse(ctx, src, path, describer, describer != nil)
}

var (
	errTooLarge   = fmt.Errorf("larger than %s", sdk.FormatBytes(maxFile))
	errNotRegular = errors.New("not a file")
)

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errNotRegular
	}
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(src) > maxFile {
		err = errTooLarge
	}
	return src, err
}

func unreadable(path string, err error) *Diagnostics {
	d := Diagnostic{File: path, Summary: "the configuration cannot be read: " + err.Error(), Detail: "name another with --config or $WRING_CONFIG"}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.Summary = "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		d.Summary = "the configuration may not be read: permission denied"
		d.Detail = "let the user that runs wring read the file"
	case errors.Is(err, errNotRegular):
		d.Summary = "this is a directory, not a configuration"
		d.Detail = "name a file, perhaps " + filepath.Join(path, fileName)
	case errors.Is(err, errTooLarge):
		d.Summary = "the file is " + err.Error() + ", too large for a configuration"
		d.Detail = "give a glob for stores that have their settings in common"
	}
	return &Diagnostics{file: path, list: []Diagnostic{d}, cause: err}
}

// Parse is Load for a configuration that has been read already. The directory
// of filename is where relative paths begin; no file is opened.
func Parse(ctx context.Context, src []byte, filename string, describer func(*Config) Describer) (*Config, error) {
	return parse(ctx, src, filename, describer, false)
}

func parse(ctx context.Context, src []byte, filename string, describer func(*Config) Describer, files bool) (*Config, error) {
	absolute, err := filepath.Abs(filename)
	if err != nil {
		return nil, unreadable(filename, err)
	}
	d := &decoder{file: filename, dir: filepath.Dir(absolute), src: src, files: files}
	if place, deep := tooDeep(src, filename); deep {
		d.report(place, "brackets or operators are nested too deeply", "no setting needs that")
		return nil, &Diagnostics{file: filename, list: d.found}
	}
	file, syntax := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	// What could be read is looked at all the same, except for what may only be
	// missing because it stands in the part that could not.
	d.reportSyntax(syntax)
	c := &Config{File: filename}
	if body, ok := file.Body.(*hclsyntax.Body); ok {
		d.root(ctx, body, c, describer)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("check the configuration %s: %w", filename, err)
	}
	if len(d.found) > 0 {
		return nil, &Diagnostics{file: filename, list: sorted(d.found)}
	}
	return c, nil
}

// tooDeep looks for nesting that would exhaust the stack of a recursive parser.
func tooDeep(src []byte, filename string) (hcl.Range, bool) {
	const most = 100
	var open []hclsyntax.TokenType
	operators := 0
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos)
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote,
			hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			open = append(open, token.Type)
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote,
			hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			open = open[:max(0, len(open)-1)]
		case hclsyntax.TokenNewline:
			if len(open) == 0 || open[len(open)-1] == hclsyntax.TokenOBrace {
				operators = 0
			}
		case hclsyntax.TokenIdent, hclsyntax.TokenNumberLit, hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit,
			hclsyntax.TokenComma, hclsyntax.TokenEqual, hclsyntax.TokenComment, hclsyntax.TokenEOF:
		default:
			operators++
		}
		if len(open) > most || operators > most {
			return token.Range, true
		}
	}
	return hcl.Range{}, false
}
