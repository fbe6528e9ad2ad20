package history

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The schema of the admin interface names every outcome.
func TestOutcomesInSchema(t *testing.T) {
	field, ok := reflect.TypeFor[Result]().FieldByName("Outcome")
	if !ok {
		t.Fatal("a result has no outcome")
	}
	got := strings.Split(field.Tag.Get("enum"), ",")
	want := []string{}
	for _, outcome := range severity() {
		want = append(want, string(outcome))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the schema has %v, want %v", got, want)
	}
}
