package sdk

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// complete fills in what the sdk knows better, and refuses a description that
// a host could not use. Defaults come out as they travel: a size as a whole
// number, a duration as a string.
func (d Description) complete() (Description, error) {
	d = d.clone()
	d.ProtocolVersion, d.ProtocolMin = ProtocolMax, ProtocolMin
	if d.Version == "" {
		d.Version = moduleVersion()
	}
	var mistakes []string
	if d.Name == "" {
		mistakes = append(mistakes, "it has no name")
	}
	if d.Engine == "" {
		d.Engine = d.Name
	}
	if len(d.Capabilities.Modes) == 0 {
		mistakes = append(mistakes, "it has no modes")
	}
	if slices.Contains(d.Capabilities.Modes, "") {
		mistakes = append(mistakes, "a mode has no name")
	}
	seen := make(map[string]bool)
	for i, option := range d.Options {
		if option.Name == "" || seen[option.Name] {
			mistakes = append(mistakes, fmt.Sprintf("option %d is named %q, which is taken or empty", i+1, option.Name))
			continue
		}
		seen[option.Name] = true
		value, err := option.plainDefault()
		if err != nil {
			mistakes = append(mistakes, "default of "+err.Error())
			continue
		}
		d.Options[i].Default = value
	}
	for i, s := range d.Signatures {
		if s.DirEntry == "" && len(s.Magic) == 0 {
			mistakes = append(mistakes, fmt.Sprintf("signature %d recognises everything", i+1))
		}
	}
	if len(mistakes) > 0 {
		return Description{}, Errorf(ErrInternal, "describe backend %q: %s", d.Name, strings.Join(mistakes, "; ")).
			WithHint("this is a mistake in the backend: report it to its author")
	}
	return d, nil
}

// Negotiate returns the version of the protocol that this host would settle on
// with the backend, from what `describe` has printed. HostVersion is for messages
// to people.
func (d Description) Negotiate(hostVersion string) (int, error) {
	host := thisHost(hostVersion)
	host.name = hostName(host.name)
	oldest := d.ProtocolMin
	if oldest <= 0 {
		oldest = d.ProtocolVersion
	}
	return negotiate(host, peer{name: strings.TrimSpace(d.Name + " " + d.Version), min: oldest, max: d.ProtocolVersion})
}

// plainDefault is the default as JSON and the wire can carry it.
func (o Option) plainDefault() (any, error) {
	if o.Default == nil {
		return nil, nil
	}
	value, err := o.Check(o.Default)
	if d, ok := value.(time.Duration); ok {
		return d.String(), err
	}
	return value, err
}

// clone shares nothing that its caller could change; no list in it is nil.
func (d Description) clone() Description {
	d.Capabilities.Modes = append([]string{}, d.Capabilities.Modes...)
	d.Options = append(Schema{}, d.Options...)
	d.Signatures = append([]Signature{}, d.Signatures...)
	return d
}

// buildVersion is the version of the program that is being built, given as
//
//	-ldflags '-X github.com/wringdb/wring/sdk.buildVersion=v1.2.3'
var buildVersion string

// moduleVersion is the program's version: what the build says, or that of its
// main module as far as it was stamped.
func moduleVersion() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
