package sdk

// What a host and a plugin process agree on before the first call, for authors
// who do not write Go. The host starts the program with these variables:
//
//	WRING_PLUGIN=…             HandshakeCookieKey and Value: this is a host
//	PLUGIN_PROTOCOL_VERSIONS=1 HandshakeVersion
//	PLUGIN_UNIX_SOCKET_DIR=…   make your socket in this directory
//	WRING_LIFELINE_FD=3        LifelineEnv: a pipe; its end is the host's end
//
// and PATH, HOME, TMPDIR, LANG, LC_ALL, TZ, WRING_LOG_LEVEL and what the
// configuration names; no other. The program listens on a unix socket and prints one line on stdout,
// and nothing before it:
//
//	1|1|unix|/path/of/the/socket|grpc|
//
// It serves wring.v1.BackendService (proto/wring/v1/wring.proto) and
// grpc.health.v1.Health, which answers SERVING for HealthService, without TLS:
// the directory is private to the user, and whoever could pass that could also
// attach a debugger. When it is asked to shut down (plugin.GRPCController), by
// SIGTERM or by the end of the lifeline, it cancels its calls, lets them clean
// up and exits: within two seconds, but after SIGTERM, which is no word of the
// host's, it may take ten for its calls as long as the lifeline holds. It ignores
// SIGINT. Messages are at most 4 MiB. Logs go to stderr, one line each, plain or
// as hclog's JSON.
const (
	// HandshakeVersion is that of the handshake, not of the protocol: Describe
	// settles the latter.
	HandshakeVersion = 1
	// HandshakeCookieKey names the variable by which a program knows that a host
	// has started it. No secret.
	HandshakeCookieKey = "WRING_PLUGIN"
	// HandshakeCookieValue is what it holds.
	HandshakeCookieValue = "wring.v1:4f0c2d6e9b1a47d3"
	// LifelineEnv names the variable that holds the number of a descriptor: the
	// reading end of a pipe whose other end only the host has. It ends when the
	// host does, however that comes about.
	LifelineEnv = "WRING_LIFELINE_FD"
	// LogLevelEnv names the variable with the least level that a plugin logs at:
	// trace, debug, info, warn or error.
	LogLevelEnv = "WRING_LOG_LEVEL"
	// HealthService is the name to ask the health service for, of plugins and of
	// owners.
	HealthService = "plugin"
)
