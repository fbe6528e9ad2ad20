package catalog

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// Program is a plugin's program, found and fit to be run.
type Program struct {
	// Name of the plugin.
	Name string `json:"name"`
	// Path is absolute.
	Path string   `json:"path"`
	Args []string `json:"args,omitempty"`
	// SHA256 is what the file has, in hexadecimal, where that was asked for: by
	// the configuration, when Pinned is set, or by List.
	SHA256 string `json:"sha256"`
	Pinned bool   `json:"pinned"`
	// Env holds KEY=VALUE for the variables that the configuration lets through.
	// Values may be secrets: they are never shown.
	Env []string `json:"-"`

	id identity
}

// Same says whether a process of one program is as good as one of the other.
func (p Program) Same(other Program) bool {
	return p.Path == other.Path && p.id == other.id && p.Pinned == other.Pinned &&
		slices.Equal(p.Args, other.Args) && slices.Equal(p.Env, other.Env)
}

// Resolve finds the program of a plugin and makes sure that it may be run: the
// explicit command, else wring-plugin-NAME beside the host's own program, else
// in the plugin directories. $PATH is not searched: a plugin has the host's
// access to every database, and who sets a PATH should not choose what runs.
func (c *Catalog) Resolve(p config.Plugin) (Program, error) {
	program, err := c.find(p)
	if err != nil || p.SHA256 == "" {
		return program, err
	}
	if program, err = c.summed(program); err != nil {
		return program, err
	}
	want := strings.ToLower(strings.TrimSpace(p.SHA256))
	if raw, err := hex.DecodeString(want); err != nil || len(raw) != 32 {
		return program, sdk.Errorf(sdk.ErrInvalidOption, "plugin %q: %w: sha256 = %q is not 64 hexadecimal digits", p.Name, ErrChecksum, p.SHA256).
			WithHint("pin it again: wring plugin pin %s", p.Name)
	}
	if program.SHA256 != want {
		return program, sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: want %s, got %s of %s", p.Name, ErrChecksum, want, program.SHA256, program.Path).
			WithHint("if you have replaced the program yourself, pin it again: wring plugin pin %s", p.Name)
	}
	program.Pinned = true
	return program, nil
}

// summed returns a program with its checksum. To read all of it takes some ten
// milliseconds, so only who needs to know asks.
func (c *Catalog) summed(program Program) (Program, error) {
	digest, err := c.sum(program.Path, program.id)
	if err != nil {
		return program, sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: %v", program.Name, ErrNotExecutable, err).
			WithHint("let the user that runs wring read the program")
	}
	program.SHA256 = digest
	return program, nil
}

// Checksum returns the SHA-256 of the program at a path in hexadecimal, or ""
// where it cannot be read.
func (c *Catalog) Checksum(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	digest, err := c.sum(path, identify(info))
	if err != nil {
		return ""
	}
	return digest
}

// ChecksumOf returns the SHA-256 of a program that was found earlier, or "" when
// its file is not there any more, or another, or was changed.
func (c *Catalog) ChecksumOf(p Program) string {
	if !p.unchanged() {
		return ""
	}
	digest, err := c.sum(p.Path, p.id)
	if err != nil || !p.unchanged() { // replaced while it was read
		return ""
	}
	return digest
}

// unchanged says whether the file at the program's path is the one that was
// found there.
func (p Program) unchanged() bool {
	info, err := os.Stat(p.Path)
	return err == nil && identify(info) == p.id
}

// find is Resolve without the question whether the checksum is the pinned one.
func (c *Catalog) find(p config.Plugin) (Program, error) {
	program := Program{Name: p.Name, Args: slices.Clone(p.Args), Env: c.env(p.Env)}
	path, info, err := c.locate(p)
	program.Path = path
	if err != nil {
		return program, err
	}
	if err := checkExecutable(p.Name, path, info); err != nil {
		return program, err
	}
	if err := checkTrust(path, os.Geteuid()); err != nil {
		return program, sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: %s", p.Name, ErrUnsafe, err).
			WithHint("%s", err.remedy)
	}
	program.id = identify(info)
	return program, nil
}

// locate returns the first file of the right name, fit or not.
func (c *Catalog) locate(p config.Plugin) (string, fs.FileInfo, error) {
	if p.Command != "" {
		if !filepath.IsAbs(p.Command) {
			return p.Command, nil, sdk.Errorf(sdk.ErrInvalidOption, "plugin %q: %w: command = %q is not a whole path", p.Name, ErrMissing, p.Command).
				WithHint("write the path from / on: $PATH is not searched, so that nobody but you chooses what runs with access to your databases")
		}
		info, err := os.Stat(p.Command)
		if err != nil {
			return p.Command, nil, unreachable(p.Name, p.Command, err).
				WithHint("install it there, or correct the command of plugin %q in the configuration", p.Name)
		}
		return filepath.Clean(p.Command), info, nil
	}

	file := ProgramPrefix + p.Name
	if p.Name == "" || strings.ContainsAny(p.Name, "/\x00") {
		return "", nil, sdk.Errorf(sdk.ErrInvalidOption, "%w: %q is no name of a plugin", ErrMissing, p.Name).
			WithHint("a name has letters, digits, '-', '_' and '.'")
	}
	for _, place := range c.places() {
		path := filepath.Join(place.dir, file)
		info, err := os.Stat(path)
		if err == nil {
			return path, info, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return path, nil, unreachable(p.Name, path, err).
				WithHint("let the user that runs wring search %s", place.dir)
		}
	}
	return "", nil, sdk.Errorf(sdk.ErrNotFound, "plugin %q: %w: %s for %s", p.Name, ErrMissing, c.placesText(), file).
		WithHint("put %s into one of these directories, or say where it is: plugin %q { command = \"/…/%s\" }; $PATH is not searched, so that nobody but you chooses what runs with access to your databases",
			file, p.Name, file)
}

func unreachable(name, path string, err error) *sdk.Error {
	if errors.Is(err, fs.ErrNotExist) {
		return sdk.Errorf(sdk.ErrNotFound, "plugin %q: %w: there is no %s", name, ErrMissing, path)
	}
	return sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: %v", name, ErrMissing, err)
}

func checkExecutable(name, path string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: %s is a directory", name, ErrNotExecutable, path).
			WithHint("the command is the program itself: perhaps %s", filepath.Join(path, ProgramPrefix+name))
	case !info.Mode().IsRegular():
		return sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: %s is no regular file", name, ErrNotExecutable, path).
			WithHint("name the program itself")
	case info.Size() == 0:
		return sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: %s is empty (0 bytes)", name, ErrNotExecutable, path).
			WithHint("install the plugin again")
	case info.Mode().Perm()&0o111 == 0:
		return sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: %s has mode %04o", name, ErrNotExecutable, path, info.Mode().Perm()).
			WithHint("chmod +x %s", path)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS); err != nil {
		return sdk.Errorf(sdk.ErrPermission, "plugin %q: %w: the user that runs wring may not execute %s: %v", name, ErrNotExecutable, path, err).
			WithHint("give that user the right to execute it")
	}
	return nil
}

// env returns KEY=VALUE for the names that are set in the host's environment.
func (c *Catalog) env(names []string) []string {
	var env []string
	for _, name := range names {
		if value, ok := c.cfg.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
