// Package app has the declarations of tafe/app that the analyzer knows.
package app

import "tafe/loop"

type Context struct{}

func (*Context) Task() *loop.Task      { return nil }
func (*Context) Text(s string) error   { return nil }
func (*Context) Done() <-chan struct{} { return nil }

type Handler func(*Context) error

type Middleware func(Handler) Handler

type RouteOption func()

func Blocking() RouteOption { return nil }

func Offload[T any](c *Context, f func() (T, error)) (T, error) { return f() }

type App struct{}

func (*App) Get(pattern string, h Handler, opts ...RouteOption) {}
