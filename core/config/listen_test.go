package config

import "testing"

func TestExposed(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:7333": false, "127.8.9.1:0": false, "[::1]:7333": false, "localhost:7333": false, "[::ffff:127.0.0.1]:1": false,
		"0.0.0.0:7333": true, "[::]:7333": true, "192.0.2.1:7333": true, "[fe80::1%eth0]:7333": true,
	} {
		if got := (Listen{Address: address}).Exposed(); got != want {
			t.Errorf("%s: exposed %t, want %t", address, got, want)
		}
		if (Listen{Address: address, Certificate: "/a.pem"}).Exposed() {
			t.Errorf("%s with TLS is exposed", address)
		}
	}
}
