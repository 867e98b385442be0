/** Types of Heed's widget, `heed.js`. */

export interface Labels {
  group: string;
  step: string;
  up: string;
  down: string;
  stars: string;
  star: string;
  comment: string;
  placeholder: string;
  send: string;
  cancel: string;
  question: string;
  response: string;
  better: string;
  tie: string;
  both_bad: string;
  queued: string;
  sending: string;
  saved: string;
  failed: string;
  expired: string;
  retry: string;
}

export const languages: Record<string, Partial<Labels>> & { en: Labels };

export type Kind = "thumbs" | "rating" | "comment" | "preference";
export type State = "idle" | "queued" | "sending" | "saved" | "failed";

export interface TokenRequest {
  interactionId: string | null;
  step: string | null;
  kinds: string[];
  /** `expired` when the last token was refused. */
  reason: "first" | "expired";
}

export type TokenSource = (request: TokenRequest) => Promise<string | { token: string }>;

export interface FeedbackValue {
  thumbs?: "up" | "down";
  rating?: 1 | 2 | 3 | 4 | 5;
  comment?: string;
}

export interface CompareValue {
  preferred?: "a" | "b" | "tie" | "both_bad";
  comment?: string;
}

interface HeedElement<Value> extends HTMLElement {
  token: string | null;
  tokenSource: TokenSource | null;
  labels: Partial<Labels>;
  value: Value;
  /** Send what waits, if it can be sent by now. */
  flush(): Promise<void>;
  /** Begin anew, because the element is about something else now. */
  reset(): void;
}

export type HeedFeedback = HeedElement<FeedbackValue>;

export interface HeedCompare extends HeedElement<CompareValue> {
  prompt: string;
  responseA: string;
  responseB: string;
  /** The sides from left to right; drawn at random, set it before the element is connected. */
  order: ["a", "b"] | ["b", "a"];
}

export type HeedSubmitted = CustomEvent<{ values: object; reply: { id: string; state: string } }>;
export type HeedError = CustomEvent<{ values: object; code: string; status?: number }>;

declare global {
  interface HTMLElementTagNameMap {
    "heed-feedback": HeedFeedback;
    "heed-compare": HeedCompare;
  }
  interface HTMLElementEventMap {
    "heed-submitted": HeedSubmitted;
    "heed-error": HeedError;
  }
}
