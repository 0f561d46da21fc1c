// Package loop has the declarations of tafe/loop that the analyzer knows.
package loop

type Task struct{}

func (*Task) Group() *Group                                  { return nil }
func (*Task) Outside(f func())                               { f() }
func Offload[T any](t *Task, f func() (T, error)) (T, error) { return f() }

type Group struct{}

func (*Group) Go(f func(t *Task) error) {}
func (*Group) All() error               { return nil }

type Flight[K comparable, V any] struct{}

func (*Flight[K, V]) Do(t *Task, key K, f func() (V, error)) (V, bool, error) {
	v, err := f()
	return v, false, err
}

type Loop struct{}

func (*Loop) Post(f func()) bool { return true }
