// The service worker: keeps all of the page, so that it works without a network, and lets nothing else be asked for.
interface Lasting extends Event {
  waitUntil(work: Promise<unknown>): void;
}
interface Asking extends Event {
  request: Request;
  respondWith(answer: Promise<Response>): void;
}
const worker = self as unknown as { skipWaiting(): void; clients: { claim(): Promise<void> } };

self.addEventListener("install", (event) => {
  (event as Lasting).waitUntil(
    caches.open(BUILD).then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "reload" })))),
  );
  worker.skipWaiting();
});

self.addEventListener("activate", (event) => {
  const older = caches
    .keys()
    .then((names) => Promise.all(names.filter((name) => name !== BUILD).map((name) => caches.delete(name))));
  (event as Lasting).waitUntil(older.then(() => worker.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  (event as Asking).respondWith(kept((event as Asking).request));
});

/** Answer from what is kept, isolated from other pages, which WebAssembly's threads need. */
async function kept(request: Request): Promise<Response> {
  const url = new URL(request.url);
  if (url.origin !== self.location.origin) return Response.error();
  const answer = (await caches.match(request, { ignoreSearch: true })) ?? (await fetch(request));
  if (answer.type === "opaqueredirect" || !answer.ok) return answer;
  const headers = new Headers(answer.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  headers.set("Content-Security-Policy", POLICY);
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}
