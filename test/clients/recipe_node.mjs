/*
 * The part of recipe_node.py that runs in Node.js.  Its argument says whether
 * the library is preloaded.  CROSSES and FALLS come from the environment.
 */

import pg from 'pg'
import { SlimPool, connectHealthy } from '../../examples/node_pool.mjs'

const { CROSSES, FALLS } = process.env
const options = { host: process.env.PGHOST, user: 'pooled', database: 'postgres',
  max: 1 }
const WARNING = 'pg_session_memory is not preloaded on the server: ' +
  'bloated connections are kept'
const warnings = []
process.removeAllListeners('warning')
process.on('warning', (warning) => warnings.push(warning.message))

function ok(name, value, why = '') {
  console.log(value ? `ok ${name}` : `not ok ${name}: ${why}`)
  if (!value) process.exitCode = 1
}

function equal(name, got, expected) {
  ok(name, JSON.stringify(got) === JSON.stringify(expected),
    `got ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`)
}

async function pidOf(client) {
  return (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid
}

/* What a query of its own, outside of the pools, returns in column v. */
async function ask(sql) {
  const client = new pg.Client({ ...options, user: 'postgres' })
  await client.connect()
  const { rows } = await client.query(sql)
  await client.end()
  return rows.map((row) => row.v)
}

async function isGone(pid) {
  for (let i = 0; i < 1200; i++) {
    if (!(await ask(`SELECT 1 AS v FROM pg_stat_activity WHERE pid = ${pid}`)).length)
      return true
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return false
}

async function work(pool, ...statements) {
  const client = await pool.connect()
  for (const statement of statements) await client.query(statement)
  const pid = await pidOf(client)
  client.release()
  return pid
}

async function keepsAndCloses(name, more) {
  const pool = new SlimPool({ ...options, ...more })
  const first = await work(pool)
  equal(`${name}: a healthy connection is kept`, await work(pool), first)
  equal(`${name}: a connection that bloats does its work`,
    await work(pool, CROSSES, "SET search_path = ''", 'RESET ALL'), first)
  const second = await work(pool)
  ok(`${name}: and is closed, not used again`, second !== first && await isGone(first))
  equal(`${name}: its successor is kept`, await work(pool), second)
  await pool.end()
}

async function slimPool() {
  await keepsAndCloses('SlimPool', {})
  await keepsAndCloses('SlimPool, no extension in the database',
    { database: 'without_extension' })
  await keepsAndCloses('SlimPool, the extension in another schema',
    { database: 'other_schema' })

  const pool = new SlimPool(options)
  const first = await work(pool)
  await work(pool, CROSSES, FALLS)
  equal('SlimPool: one that has been bloated is kept', await work(pool), first)
  const stateChange = `SELECT state_change::text AS v FROM pg_stat_activity
    WHERE pid = ${first}`
  const client = await pool.connect()
  const before = await ask(stateChange)
  client.release()
  equal('SlimPool: release is no round trip', await ask(stateChange), before)

  // Clients that wait, all at the same time, for the one connection.
  await pool.query(CROSSES)
  ok('SlimPool: closed also after pool.query()', await isGone(first))
  const pids = await Promise.all([work(pool, CROSSES), work(pool, CROSSES), work(pool)])
  equal('SlimPool: who waits for it gets another', new Set(pids).size, 3)
  equal('SlimPool: it counts its connections', pool.totalCount, 1)
  // node-postgres reports an error before the status has come.
  const failing = await pool.connect()
  const pid = await pidOf(failing)
  await failing.query(CROSSES + '; SELECT 1/0').catch(() => {})
  failing.release()
  await work(pool)
  ok('SlimPool: closed at the next release after a statement that failed',
    await isGone(pid))
  await pool.end()
  equal('SlimPool: no warning', warnings, [])
}

async function errorOf(pool) {
  try {
    (await connectHealthy(pool)).release()
    return {}
  } catch (error) {
    return error
  }
}

async function healthy(name) {
  const pool = new pg.Pool({ ...options, max: 2 })
  const first = await connectHealthy(pool)
  const second = await connectHealthy(pool)
  const pids = [await pidOf(first), await pidOf(second)]
  await first.query(CROSSES)
  first.release()
  second.release()
  const clients = [await connectHealthy(pool), await connectHealthy(pool)]
  const after = [await pidOf(clients[0]), await pidOf(clients[1])]
  ok(`${name}: a healthy one is handed out, a bloated one is not`,
    after.includes(pids[1]) && !after.includes(pids[0]), `${pids} ${after}`)
  ok(`${name}: but closed`, await isGone(pids[0]))
  clients.forEach((client) => client.release())
  await pool.end()

  const strict = new pg.Pool({ ...options, user: 'strict' })
  equal(`${name}: where each session is over its threshold, it gives up`,
    (await errorOf(strict)).code, '53400')
  await strict.end()
}

async function healthyElsewhere() {
  for (const [name, more] of [
    ['no extension in the database', { database: 'without_extension' }],
    ['the extension in another schema', { database: 'other_schema' }]]) {
    const pool = new pg.Pool({ ...options, ...more })
    equal(`connectHealthy: ${name}`, (await errorOf(pool)).message,
      'function pg_session_memory_check() does not exist')
    await pool.end()
  }
  const pool = new pg.Pool({ ...options, database: 'other_schema',
    options: '-c search_path=memory' })
  const client = await connectHealthy(pool)
  ok('connectHealthy: its schema in search_path', await pidOf(client))
  client.release()
  await pool.end()
}

async function notPreloaded() {
  const pool = new SlimPool(options)
  const first = await work(pool)
  equal('SlimPool, not preloaded: it works', await work(pool, CROSSES), first)
  await pool.end()
  equal('SlimPool, not preloaded: and says so', warnings, [WARNING])
}

if (process.argv[2] === 'preloaded') {
  await slimPool()
  await healthy('connectHealthy')
  await healthyElsewhere()
} else {
  await notPreloaded()
  await healthy('connectHealthy, not preloaded')
}
