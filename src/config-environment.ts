/** What the environment says of each kind of provider, and its public address. */
import type { ProviderKind } from './config-file.ts';

type ProviderDefaults = { baseUrl: string; keyEnv: string; keysEnv: string; baseUrlEnv: string };
export const defaultsByKind: Record<ProviderKind, ProviderDefaults> = {
  privatemind: {
    baseUrl: 'https://api.privatemind.com',
    keyEnv: 'PMIND_KEY',
    keysEnv: 'PMIND_KEYS',
    baseUrlEnv: 'PMIND_BASE_URL',
  },
  'curate-me': {
    baseUrl: 'https://api.curate-me.ai',
    keyEnv: 'CM_API_KEY',
    keysEnv: 'CM_API_KEYS',
    baseUrlEnv: 'CM_BASE_URL',
  },
  openai: {
    baseUrl: 'https://api.openai.com',
    keyEnv: 'OPENAI_API_KEY',
    keysEnv: 'OPENAI_API_KEYS',
    baseUrlEnv: 'OPENAI_BASE_URL',
  },
};

/** The variable that holds the base URL of the provider that bears its kind's name. */
export function baseUrlVariableOf(kind: ProviderKind): string {
  return defaultsByKind[kind].baseUrlEnv;
}
