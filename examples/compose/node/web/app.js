// Notes that PostgreSQL keeps; Valkey counts how often they were read.
const fs = require('fs')
const http = require('http')
const { Pool } = require('pg')
const { createClient } = require('redis')

const password = fs.readFileSync('/run/secrets/password', 'utf8').trim()
const database = new Pool({ host: 'db', user: 'app', password, database: 'postgres' })
const cache = createClient({ url: 'redis://cache' })
database.on('error', error => console.error(error.message))
cache.on('error', error => console.error(error.message))

async function add(request) {
    let body = ''
    for await (const piece of request) body += piece
    await database.query('INSERT INTO notes (note) VALUES ($1)', [new URLSearchParams(body).get('note')])
    return [201, 'kept\n']
}

async function show() {
    const { rows } = await database.query('SELECT note FROM notes ORDER BY id')
    const lines = [...rows.map(row => row.note), `(read ${await cache.incr('reads')} times)`]
    return [200, lines.map(line => `${line}\n`).join('')]
}

async function answer(request, response) {
    let status, text
    try {
        [status, text] = await (request.method === 'POST' ? add(request) : show())
    } catch (error) {
        [status, text] = [500, `${error.message}\n`]
    }
    response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(text)
}

async function main() {
    await cache.connect()
    await database.query('CREATE TABLE IF NOT EXISTS notes (id serial, note text)')
    http.createServer(answer).listen(8000)
}

main()
