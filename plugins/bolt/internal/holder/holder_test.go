package holder

import "testing"

func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		processes []Process
		want      string
	}{
		{nil, "another process"},
		{[]Process{{PID: 12, Command: "etcd"}}, "process 12 (etcd)"},
		{[]Process{{PID: 12, Command: "etcd"}, {PID: 14}}, "process 12 (etcd) and process 14"},
	} {
		if got := Describe(test.processes); got != test.want {
			t.Errorf("%v: %q, want %q", test.processes, got, test.want)
		}
	}
}
