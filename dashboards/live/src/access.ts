// What is asked for when a view is opened. Customers are behind a token, if there are tokens.

const PLACE = "headsup-token";

export class Refused extends Error {
  constructor(readonly status: number, detail: string) {
    super(detail);
  }
}

export function token(): string | null {
  return sessionStorage.getItem(PLACE);
}

export function keep(value: string | null): void {
  if (value) sessionStorage.setItem(PLACE, value);
  else sessionStorage.removeItem(PLACE);
}

export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = {};
  const mine = token();
  if (mine && /^\/live\/(customers|conversations|campaigns)/.test(path)) headers.Authorization = "Bearer " + mine;
  const answer = await fetch(path, { headers, signal });
  if (answer.ok) return (await answer.json()) as T;
  const problem = (await answer.json().catch(() => ({}))) as { detail?: string };
  throw new Refused(answer.status, problem.detail ?? answer.statusText);
}
