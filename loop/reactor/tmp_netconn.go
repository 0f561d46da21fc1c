package reactor

import "net"

func NewNetConn(*Conn) net.Conn { panic("reactor: no net.Conn yet") }
