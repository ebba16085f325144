/*
 * node-postgres' pool, closing a bloated connection when it comes back.
 *
 *     const pool = new SlimPool({ database: 'shop' })
 *
 * is pg.Pool, for pg 8.10 (pg-pool 3.6) and later.  Whether the session has
 * bloated is in the status parameter pg_session_memory.status, which the server
 * sends with the response to the statement that made the difference, and the
 * connection emits as the event parameterStatus: no round trip.  The server
 * must have pg_session_memory preloaded; the database need not have the
 * extension.  After a statement that failed, which node-postgres reports before
 * the status has come, a connection may be used once more.
 *
 *     const client = await connectHealthy(pool)
 *
 * is pool.connect() of any pool, but asks the server first: a round trip, but
 * no preloading.  The database must have the extension, in search_path.
 */

import pg from 'pg'

class WatchedClient extends pg.Client {
  constructor(options) {
    super(options)
    this.connection.on('parameterStatus', (message) => {
      if (message.parameterName === 'pg_session_memory.status')
        this.memoryStatus = message.parameterValue
    })
  }
}

export class SlimPool extends pg.Pool {
  constructor(options) {
    super({ ...options, Client: WatchedClient })
    this.once('connect', (client) => {
      if (!client.memoryStatus)
        process.emitWarning('pg_session_memory is not preloaded on the server: ' +
          'bloated connections are kept')
    })
    this.on('release', (error, client) => {
      if (client.memoryStatus === 'bloated')
        client.end() // the pool drops those that are closed
    })
  }
}

export async function connectHealthy(pool) {
  for (let others = pool.totalCount; ; others--) {
    const client = await pool.connect()
    try {
      await client.query('SELECT pg_session_memory_check()')
      return client
    } catch (error) {
      client.release(error) // closed, not kept
      if (error.code !== '53400' || others <= 0) throw error
    }
  }
}
