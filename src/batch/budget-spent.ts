/** Whose budget has stopped a batch, in words: each with what lets it go on, since the same command alone does not. */

export const budgetSpent = {
  batch: 'the batch\u2019s budget is spent; give the same command a larger --budget to go on',
  day: 'the daily budget is spent; it starts anew at 00:00 UTC, or raise dailyBudgetUsd in the configuration',
  key: 'the budget of every key is spent; raise a key\u2019s budgetUsd in the configuration',
};
