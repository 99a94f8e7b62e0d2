// Node's own way: the request piped through zlib.createGzip into the answer.
//   node node.js LEVEL
// Prints "listening on ADDRESS".
'use strict';
const http = require('node:http');
const { pipeline } = require('node:stream');
const zlib = require('node:zlib');

const level = Number(process.argv[2]);
const server = http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Encoding': 'gzip' });
  pipeline(request, zlib.createGzip({ level }), response, (error) => {
    if (error) response.destroy(error);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`listening on ${address}:${port}`);
});
