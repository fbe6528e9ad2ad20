package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are where a command line reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal is set when Err is a terminal, so that progress can be drawn.
	Terminal bool
	// Width of the terminal that Out is, or 80.
	Width int
}

// Stdio returns the streams of the process.
func Stdio() Streams {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		width = 80
	}
	return Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
		Width:    width,
	}
}

// printJSON writes the one document of a verb.
func (s Streams) printJSON(document any) error {
	encoder := json.NewEncoder(s.Out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
