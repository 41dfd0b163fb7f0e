// Prints what the AsyncAPI project's own parser says about a document, as JSON.
//   node check.mjs FOLDER-OF-NODE_MODULES DOCUMENT
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const [modules, path] = process.argv.slice(2);
const { Parser } = createRequire(resolve(modules, 'package.json'))('@asyncapi/parser');
const { document, diagnostics } = await new Parser().parse(readFileSync(path, 'utf8'));
console.log(JSON.stringify({
  diagnostics: diagnostics.map(({ severity, code, path: where, message }) =>
    ({ severity, code, path: where.join('/'), message })),
  channels: document ? document.allChannels().all().map((channel) => channel.address()) : [],
  operations: document ? document.allOperations().all().map((operation) => operation.id()) : [],
  messages: document ? document.allMessages().all().map((message) => message.id()) : [],
}));
