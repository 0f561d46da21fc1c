// The handlers of notes. A user sees only notes of their own.

package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"

	"tafe/app"
)

// textMax bounds the text of a note, in characters.
const textMax = 10_000

func (n *notes) list(c *app.Context) error {
	all, err := n.store.list(c, userOf(c))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, all)
}

func (n *notes) create(c *app.Context) error {
	text, err := textOf(c)
	if err != nil {
		return err
	}
	made, err := n.store.create(c, userOf(c), text)
	if err != nil {
		return err
	}
	n.feed.publish(userOf(c), change{"created", made.ID})
	c.SetHeader("Location", fmt.Sprintf("/notes/%d", made.ID))
	return c.JSON(http.StatusCreated, made)
}

func (n *notes) read(c *app.Context) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	found, err := n.store.read(c, userOf(c), id)
	if err != nil {
		return answered(err)
	}
	return c.JSON(http.StatusOK, found)
}

func (n *notes) replace(c *app.Context) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	text, err := textOf(c)
	if err != nil {
		return err
	}
	changed, err := n.store.replace(c, userOf(c), id, text)
	if err != nil {
		return answered(err)
	}
	n.feed.publish(userOf(c), change{"replaced", id})
	return c.JSON(http.StatusOK, changed)
}

func (n *notes) remove(c *app.Context) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	if err := n.store.remove(c, userOf(c), id); err != nil {
		return answered(err)
	}
	n.feed.publish(userOf(c), change{"removed", id})
	return c.NoContent(http.StatusNoContent)
}

// answered maps errors of the store to responses.
func answered(err error) error {
	if errors.Is(err, errNoNote) {
		return app.Error(http.StatusNotFound, "no such note")
	}
	return err
}

func idOf(c *app.Context) (int64, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, app.Error(http.StatusNotFound, "no such note")
	}
	return id, nil
}

func textOf(c *app.Context) (string, error) {
	var body noteBody
	err := c.Bind(&body)
	return body.Text, err
}

// noteBody is the body of a request that writes a note.
type noteBody struct {
	Text string `json:"text"`
}

// Validate implements app.Validator.
func (b *noteBody) Validate() error {
	if b.Text == "" || utf8.RuneCountInString(b.Text) > textMax {
		return app.FieldErrors{{In: "json", Field: "text", Message: fmt.Sprintf("must have 1 to %d characters", textMax)}}
	}
	return nil
}
