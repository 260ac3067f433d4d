// In charge of a bad network: a TCP proxy that cuts connections, for good or after some bytes.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Proxy {
  /// `bytesLeft` says of each connection how many bytes it lasts, both ways together.
  static async open(t, address, bytesLeft) {
    const proxy = new Proxy();
    const [host, port] = address.split(":");
    proxy.sockets = new Set();
    proxy.cuts = 0;
    proxy.server = createServer((near) => proxy.join(near, connect(Number(port), host), bytesLeft()));
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}/couch`;
    t.after(() => proxy.close());
    return proxy;
  }

  join(near, far, bytesLeft) {
    let left = bytesLeft;
    const ways = [
      [near, far],
      [far, near],
    ];
    const end = () => ways.forEach(([socket]) => socket.destroy());
    for (const [from, to] of ways) {
      this.sockets.add(from);
      from.on("data", (bytes) => {
        // What still fits goes through, so that answers end in their middle.
        to.write(bytes.subarray(0, Math.max(left, 0)));
        left -= bytes.length;
        if (left > 0) return;
        this.cuts += 1;
        to.end();
        from.destroy();
      });
      from.on("error", end);
      from.on("close", () => {
        this.sockets.delete(from);
        to.end();
      });
    }
  }

  close() {
    this.server.close();
    this.sockets.forEach((socket) => socket.destroy());
  }
}
