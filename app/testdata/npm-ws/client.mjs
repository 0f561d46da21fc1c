// A client by npm's ws. It sends messages of several sizes, a ping and a close frame to an echo server, and prints one line for each check.
import WebSocket from "ws";

const [url, compress] = process.argv.slice(2);
const ws = new WebSocket(url, ["chat.v2", "chat.v1"], { perMessageDeflate: compress === "yes", handshakeTimeout: 20000 });
const messages = ["hello", "κόσμε", "x".repeat(70000), Buffer.from([0, 255, 1]), "", Buffer.alloc(200000, 7)];
const received = [];

ws.on("open", () => {
	console.log(`open ${ws.protocol} ${ws.extensions}`);
	for (const m of messages) ws.send(m);
});
ws.on("message", (data, isBinary) => {
	const want = messages[received.length];
	received.push(data);
	const same = Buffer.compare(Buffer.from(want), data) === 0 && isBinary === (typeof want !== "string");
	console.log(`message ${data.length} ${same}`);
	if (received.length === messages.length) ws.ping("are you there");
});
ws.on("pong", (data) => {
	console.log(`pong ${data}`);
	ws.close(4321, "done");
});
ws.on("close", (code, reason) => console.log(`close ${code} ${reason}`));
ws.on("error", (e) => console.log(`error ${e.message}`));
