/**
 * What the codes and words of an error are about, where the status alone leaves it open: is it the model that is not
 * there, or something else about a request that names a model? Whose budget is spent? Is it the path? Pure. Codes are
 * asked first, words last; what words quote is left out, since an id or a piece of a prompt may say anything.
 */
import type { ErrorBody } from './answer.ts';

/** More of a message tells no more. */
const mostChars = 2000;

function plain(message: string): string {
  return message
    .slice(0, mostChars)
    .toLowerCase()
    .replaceAll('\u2019', "'")
    .replaceAll(/`[^`]*`|"[^"]*"|\u201c[^\u201d]*\u201d|(?<![a-z0-9])'[^']*'(?![a-z0-9])/g, (quoted) =>
      /^.model.$/.test(quoted) ? ' model ' : ' … ',
    )
    .replaceAll(/[\s_]+/g, ' ')
    .replaceAll(/ (?=[:,.;])/g, '')
    .trim();
}

/** What a request may be wrong about although its model is there. */
const notIdentity =
  /\b(tokens?|context|length|param(eter)?s?|arguments?|tools?|functions?|response format|json|schema|images?|vision|audio|stream(ing)?|temperature|top [pk]|seed|stop|logprobs?|penalty|reasoning|effort|messages?|roles?|content|prompts?|inputs?|outputs?|features?|capabilit(y|ies)|overloaded|busy|loading)\b/;

const modelsOwn = "(?!'s| (parameter|param|option|setting|argument|config|input|output|response|type))";
const missing = '(invalid|unknown|unsupported|unrecogni[sz]ed|nonexistent|non-existent|unavailable|no such|incorrect)';
const surelyTheModel = [
  new RegExp(`\\b${missing} model\\b${modelsOwn}`),
  new RegExp(`\\b${missing} ((parameter|field|argument):?|value (for|of|in):?) model($|[:,.;])`),
  /\bnot an? (valid|known|supported|recogni[sz]ed|available|chat|text)( chat| completion)? model\b/,
  new RegExp(`\\bno (available )?model\\b${modelsOwn}`),
  /\baccess to (the |this )?model\b/,
  /\b(not|n't) (answer|serve|support|supported|available)( in| with| for)?( the)? \S*chat\b/,
];

const gone = [
  "(do(es)? ?n[o']t|not) exist",
  'no longer \\w+',
  "(is |was |are |could |can ?|has )?(not|n't) (be |been )?(currently )?(found|available|known|recogni[sz]ed|offered|served|enabled|accessible|allowed|permitted|supported)",
  '(has been|have been|was|is|is being|being) (currently |temporarily )?(removed|retired|deprecated|decommissioned|discontinued|disabled|migrated|unknown|unavailable|unsupported|invalid)',
];
/** "model", at most four words of the same sentence (an id, "in your region"), and what became of it. */
const theModelIsGone = new RegExp(`\\bmodel\\b([ :,=]+[^ ;]*[^ ;.]){0,4}?[ :,]+(${gone.join('|')})\\b`);

/** Is it that the model is not there, or not for this key? */
export function blamesModel({ code, param, message }: ErrorBody): boolean {
  const words = plain(code.replaceAll(/[.:-]/g, '_'));
  const text = plain(message);
  if (notIdentity.test(words)) return false;
  if (/\bmodels?\b/.test(words)) return true;
  if (surelyTheModel.some((pattern) => pattern.test(text))) return true;
  if (notIdentity.test(text)) return false;
  return param === 'model' || theModelIsGone.test(text);
}

/** Is it that there is nothing at this URL? */
export function blamesPath({ code, message }: ErrorBody): boolean {
  const aboutPath = /\b(path|url|uri|routes?|endpoint|page|method)\b|\b(get|post):? ?\//;
  return aboutPath.test(plain(code)) || aboutPath.test(plain(message));
}

/** Is it about what the request says, whichever model and key it goes to? */
export function blamesContent({ code, message }: ErrorBody): boolean {
  if (/\b(pii|injection|moderation|policy|content|safety)\b/.test(plain(code))) return true;
  return /\b(content|usage|safety|use|moderation) (policy|policies|filter)|flagged|moderation|personal data|\bpii\b|injection/.test(
    plain(message),
  );
}

const organisation = '(organi[sz]ation|org|account|workspace|team|project|company|tenant|plan|subscription|user)';
const cap = '(budget|cap|limit|quota|spend|spending|credits?|balance|allowance|funds)';
/** "key budget", "key a has reached its limit"; but not "your organisation can raise the budget". */
const owns = (who: string, notBetween: string) =>
  new RegExp(
    `\\b${who}('s)?( (?!(to|can|may|could|should|must|admin\\w*|owner)\\b|${notBetween}(?![\\w-]))[\\w.…-]+){0,4}? ${cap}\\b` +
      `|\\b${cap} (of|for|on) (this |the |your |that )?((api|access) )?${who}\\b`,
  );
const keyOwnsCap = owns('key', organisation);
const organisationOwnsCap = owns(organisation, 'key');

/**
 * Is the budget that is spent this key's alone? Whatever does not say so is taken for the organisation's: to go on
 * after an organisation's cap is the costlier mistake (its code is not documented).
 */
export function blamesKeyBudget({ code, message }: ErrorBody): boolean {
  const words = plain(code);
  if (new RegExp(`\\b${organisation}\\b`).test(words)) return false;
  if (/\bkey\b/.test(words)) return true;
  const text = plain(message);
  if (organisationOwnsCap.test(text)) return false;
  if (keyOwnsCap.test(text)) return true;
  return /\bkey\b/.test(text) && !new RegExp(`\\b${organisation}`).test(text);
}
