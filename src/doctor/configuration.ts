/**
 * The configuration as the doctor takes it: what is wrong with it is a finding, and the rest is used all the same. A key
 * whose variable is not set is left out; the others are looked at.
 */
import { readFileSync } from 'node:fs';
import { configSchema, loadConfig, type Config, type ConfigOptions } from '../config.ts';
import { messageOf } from '../errors.ts';
import { parseJson } from '../provider/answer.ts';
import { about, type Finding } from './finding.ts';

export type Configuration = {
  /** With the keys whose secrets are there; null when it cannot be read at all. */
  config: Config | null;
  findings: Finding[];
};

/** A proxy on the way may be slow, and so is a long completion that is not streamed. */
const shortAttemptMs = 120_000;
const unset = '(not set)';

export function readConfiguration(options: ConfigOptions): Configuration {
  const env = options.env ?? process.env;
  const say = about('configuration', 'configuration');
  const broken = (error: unknown) => {
    const cure = 'correct it; the README, "Configuration", names every field and variable';
    return say.problem('the configuration is not valid', messageOf(error), cure);
  };
  let bare: Config;
  try {
    bare = loadConfig({ ...options, secrets: false });
  } catch (error) {
    return { config: null, findings: [broken(error)] };
  }
  const missing = missingVariables(bare.file, env);
  const findings = missing.map(({ keyName, variable }) =>
    about('key', keyName).problem(
      'its secret is not there',
      `the environment variable ${variable} is not set`,
      `set ${variable} to the key's secret, in the shell or the service that starts nightshift`,
    ),
  );
  try {
    const placeholders = Object.fromEntries(missing.map(({ variable }) => [variable, unset]));
    const config = loadConfig({ ...options, env: { ...env, ...placeholders } });
    const without = new Set(missing.map(({ keyName }) => keyName));
    const keys = config.keys.filter(({ name }) => !without.has(name));
    return { config: { ...config, keys }, findings: [...judgeSettings(config), ...findings, ...noKeys(config)] };
  } catch (error) {
    return { config: bare, findings: [broken(error)] };
  }
}

function judgeSettings(config: Config): Finding[] {
  const say = about('configuration', 'configuration');
  const source = config.file ?? 'the environment (there is no configuration file)';
  if (config.attemptTimeoutMs >= shortAttemptMs) return [say.ok(`read from ${source}`)];
  return [
    say.warning(
      'a long completion may not be done in time',
      `attemptTimeoutMs is ${config.attemptTimeoutMs}`,
      'raise attemptTimeoutMs above the longest completion (default 600000): a timeout shorter than it is paid for twice',
    ),
  ];
}

function noKeys(config: Config): Finding[] {
  if (config.keys.length > 0) return [];
  const cure =
    'set PMIND_KEY, CM_API_KEY or OPENAI_API_KEY (or PMIND_KEYS and so on, separated by commas), or list keys in nightshift.config.json';
  return [about('keys', 'keys').problem('there is no API key', null, cure)];
}

/** Of a file's keys; keys that come from the environment are there by being there. */
function missingVariables(file: string | null, env: NodeJS.ProcessEnv): { keyName: string; variable: string }[] {
  if (file === null) return [];
  const parsed = configSchema.safeParse(parseJson(readFileSync(file, 'utf8').replace(/^\ufeff/, '')));
  const keys = parsed.success ? (parsed.data.keys ?? []) : [];
  return keys.flatMap(({ name, secretEnv, upstreamSecretEnv }) =>
    [secretEnv, upstreamSecretEnv]
      .filter((variable) => variable !== undefined)
      .filter((variable) => /^[A-Za-z_]\w*$/.test(variable) && !env[variable]?.trim())
      .map((variable) => ({ keyName: name, variable })),
  );
}
