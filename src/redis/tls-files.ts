/**
 * The files that a TLS URL may name: `?ca=` the authority that signed the server's certificate, where it is a private
 * one; `cert=` and `key=` our own certificate, where the server wants one. PEM; paths are relative to the working
 * directory. Without `ca` the system's authorities count, and those in NODE_EXTRA_CA_CERTS.
 */
import { readFileSync } from 'node:fs';
import { createSecureContext, type ConnectionOptions as TlsOptions } from 'node:tls';
import { messageOf, systemErrorCode, type AppError } from '../errors.ts';

export const tlsParameters = ['ca', 'cert', 'key'] as const;

/** `wrong` makes the error about the URL. */
export function readTlsFiles(parameters: URLSearchParams, wrong: (what: string) => AppError): TlsOptions {
  const options: TlsOptions = {};
  for (const name of tlsParameters) {
    const file = parameters.get(name);
    if (file === null) continue;
    try {
      options[name] = readFileSync(file, 'utf8');
    } catch (cause) {
      const why = systemErrorCode(cause) === 'ENOENT' ? 'there is no such file' : messageOf(cause);
      throw wrong(`a file that cannot be read ("${name}" is ${file}: ${why})`);
    }
  }
  if ((options.cert === undefined) !== (options.key === undefined))
    throw wrong('"cert" without "key", or "key" alone,');
  try {
    // What is no PEM says so here, not at every attempt to connect.
    createSecureContext({ ca: options.ca, cert: options.cert, key: options.key });
  } catch (cause) {
    throw wrong(`files that are no certificate and key in PEM form (${messageOf(cause)})`);
  }
  return options;
}
