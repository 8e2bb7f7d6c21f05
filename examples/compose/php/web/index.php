<?php
// Notes that MariaDB keeps; memcached counts how often they were read.
header('Content-Type: text/plain');
$database = new mysqli('db', 'app', trim(file_get_contents('/run/secrets/password')), 'app');
$database->query('CREATE TABLE IF NOT EXISTS notes (id SERIAL, note TEXT)');

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $database->execute_query('INSERT INTO notes (note) VALUES (?)', [$_POST['note']]);
    http_response_code(201);
    echo "kept\n";
    return;
}
foreach ($database->query('SELECT note FROM notes ORDER BY id') as $row) {
    echo $row['note'], "\n";
}
$cache = new Memcached();
$cache->setOption(Memcached::OPT_BINARY_PROTOCOL, true); // a counter that begins by itself
$cache->addServer('cache', 11211);
echo '(read ', $cache->increment('reads', 1, 1), " times)\n";
