// Package habits keeps, by its tests, what reviewers would otherwise have to
// watch for: which package may import which, which modules the project depends
// on and why, that every package says what it is for, and that files stay of a
// size that can be read. It holds no code that programs use.
package habits
