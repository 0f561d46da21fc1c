// Keys of TLS session tickets in the storage, so that a session resumes on any machine, and after a restart.

package acme

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/caddyserver/certmagic"
)

const (
	ticketEvery = 24 * time.Hour     // a new key
	ticketKept  = 7 * 24 * time.Hour // as long as crypto/tls accepts a ticket
	ticketLead  = time.Hour          // from storing a key to using it, so that all processes know it by then
	ticketsKey  = "tickets/keys.json"
	ticketsLock = "tickets"
)

// ticketKey is one key in the storage.
type ticketKey struct {
	Created time.Time `json:"created"`
	Key     []byte    `json:"key"` // 32 bytes
}

// Tickets is the function Tickets with the storage of m, now.
func (m *Manager) Tickets(ctx context.Context) ([][32]byte, error) {
	return Tickets(ctx, m.options.Storage, time.Now())
}

// Tickets returns the keys of session tickets, the one that encrypts first. It makes a new one once a day, among all processes with the
// storage. Call it every CheckEvery or so.
func Tickets(ctx context.Context, storage certmagic.Storage, now time.Time) ([][32]byte, error) {
	keys, err := loadTickets(ctx, storage)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 || now.Sub(keys[0].Created) >= ticketEvery {
		if keys, err = rotateTickets(ctx, storage, now); err != nil {
			return nil, err
		}
	}
	return inOrder(keys, now), nil
}

// loadTickets returns the keys, newest first.
func loadTickets(ctx context.Context, storage certmagic.Storage) (keys []ticketKey, err error) {
	text, err := storage.Load(ctx, ticketsKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ticket keys: %w", err)
	}
	if json.Unmarshal(text, &keys) != nil {
		return nil, nil // damaged: new ones are made
	}
	keys = slices.DeleteFunc(keys, func(k ticketKey) bool { return len(k.Key) != 32 })
	slices.SortFunc(keys, func(a, b ticketKey) int { return b.Created.Compare(a.Created) })
	return keys, nil
}

func rotateTickets(ctx context.Context, storage certmagic.Storage, now time.Time) ([]ticketKey, error) {
	if err := storage.Lock(ctx, ticketsLock); err != nil {
		return nil, fmt.Errorf("ticket keys: %w", err)
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), ticketsLock) }()
	keys, err := loadTickets(ctx, storage)
	if err != nil || len(keys) > 0 && now.Sub(keys[0].Created) < ticketEvery { // another process was first
		return keys, err
	}
	fresh := ticketKey{Created: now, Key: make([]byte, 32)}
	if _, err := rand.Read(fresh.Key); err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, func(k ticketKey) bool { return now.Sub(k.Created) > ticketKept+ticketEvery })
	keys = append([]ticketKey{fresh}, keys...)
	text, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	if err := storage.Store(ctx, ticketsKey, text); err != nil {
		return nil, fmt.Errorf("ticket keys: %w", err)
	}
	return keys, nil
}

// inOrder puts the newest key that all processes know first: it encrypts. All of them decrypt.
func inOrder(keys []ticketKey, now time.Time) (all [][32]byte) {
	first := slices.IndexFunc(keys, func(k ticketKey) bool { return now.Sub(k.Created) >= ticketLead })
	if first < 0 {
		first = len(keys) - 1
	}
	all = append(all, [32]byte(keys[first].Key))
	for i, k := range keys {
		if i != first {
			all = append(all, [32]byte(k.Key))
		}
	}
	return all
}
