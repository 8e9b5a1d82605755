/* Bars that move: one event stream for all of a page, and a look every two seconds where there is none. Bars that come
   later, by htmx say, are followed as well, and a stream whose bars have all gone is closed.
   Each news of a job is also an event of its element: `taskyard:progress`, with what the server said as its detail. */
(() => {
    "use strict";

    const BARS = ".taskyard-progress[data-job]";
    const LOOK_MILLISECONDS = 2000;
    const LONGEST_LOOK_MILLISECONDS = 30000;
    /* Somebody who listens is told of a new state at once, of numbers now and then. */
    const TELL_MILLISECONDS = 10000;
    const MOST_JOBS = 50;

    /* What is added to a page may bring this script along once more. */
    if (window.taskyardFollows) {
        return;
    }
    window.taskyardFollows = true;

    function show(element, job) {
        const bar = element.querySelector(".taskyard-bar");
        const words = element.querySelector(".taskyard-words");
        const isNew = words.textContent !== job.words;
        if (job.percent !== null) {
            bar.value = job.percent;
        } else if (job.state === "running") {
            bar.removeAttribute("value");
        } else {
            bar.value = 0;
        }
        bar.textContent = job.says;
        words.textContent = job.words;
        element.querySelector(".taskyard-says").textContent = job.says;
        element.dataset.state = job.state;
        const told = Number(element.dataset.told || 0);
        if (isNew || Date.now() - told > TELL_MILLISECONDS) {
            element.dataset.told = Date.now();
            element.querySelector(".taskyard-news").textContent = `${element.getAttribute("aria-label")}: ${job.words} ${job.says}`;
        }
        element.dispatchEvent(new CustomEvent("taskyard:progress", { bubbles: true, detail: job }));
    }

    function setAgain(elements, isHidden) {
        for (const element of elements) {
            const link = element.querySelector(".taskyard-again");
            if (link) {
                link.hidden = isHidden || element.dataset.isFinal === "yes";
            }
        }
    }

    /* Follows up to MOST_JOBS jobs, by a stream or by looks. */
    function follower() {
        const byJob = new Map();
        let source = null;
        let isLooking = false;
        let pause = LOOK_MILLISECONDS;
        let addresses = null;

        function address(path) {
            return `${path}?${new URLSearchParams([...byJob.keys()].map((job) => ["job", job]))}`;
        }

        function tell(said) {
            for (const job of said.jobs) {
                const elements = byJob.get(job.job) || [];
                for (const element of elements) {
                    element.dataset.isFinal = job.is_final ? "yes" : "";
                    show(element, job);
                }
                setAgain(elements, true);
                if (job.is_final) {
                    byJob.delete(job.job);
                }
            }
        }

        async function look() {
            isLooking = byJob.size > 0;
            if (!isLooking) {
                return;
            }
            const elements = [...byJob.values()].flat();
            try {
                const answer = await fetch(address(addresses.lookAt), { redirect: "error" });
                if (answer.status === 404 || answer.status === 403) {
                    setAgain(elements, false);
                    isLooking = false;
                    return;
                }
                if (!answer.ok) {
                    throw new Error(answer.statusText);
                }
                const said = await answer.json();
                tell(said);
                said.missing.forEach((job) => byJob.delete(job));
                pause = LOOK_MILLISECONDS;
            } catch {
                /* The server is away, or busy: it is asked again, less and less often. */
                setAgain(elements, false);
                pause = Math.min(pause * 2, LONGEST_LOOK_MILLISECONDS);
            }
            setTimeout(look, pause);
        }

        function open() {
            const stream = new EventSource(address(addresses.eventsAt));
            source = stream;
            stream.addEventListener("progress", (event) => tell(JSON.parse(event.data)));
            stream.addEventListener("end", () => stream.close());
            stream.addEventListener("error", () => {
                /* A stream that ended is opened again by the browser; one that was refused is not. */
                if (stream === source && stream.readyState === EventSource.CLOSED) {
                    look();
                }
            });
        }

        return {
            has: (job) => byJob.has(job),
            hasRoom: () => byJob.size < MOST_JOBS,
            add(element) {
                const { job, lookAt, eventsAt } = element.dataset;
                addresses = { lookAt, eventsAt };
                byJob.set(job, [...(byJob.get(job) || []), element]);
            },
            /* Elements that have left the page are nobody's business any more. */
            forget() {
                for (const [job, elements] of byJob) {
                    const left = elements.filter((element) => element.isConnected);
                    left.length ? byJob.set(job, left) : byJob.delete(job);
                }
                if (byJob.size === 0 && source !== null) {
                    source.close();
                }
            },
            /* Of other jobs than before: a stream is told which when it is opened. */
            start() {
                if (!isLooking) {
                    source?.close();
                    open();
                }
            },
        };
    }

    const followed = new WeakSet();
    const followers = [];

    function followAll() {
        followers.forEach((one) => one.forget());
        const changed = new Set();
        for (const element of document.querySelectorAll(BARS)) {
            if (followed.has(element) || element.dataset.isFinal === "yes") {
                continue;
            }
            followed.add(element);
            let one = followers.find((known) => known.has(element.dataset.job));
            if (!one) {
                one = followers.find((known) => known.hasRoom()) || follower();
                if (!followers.includes(one)) {
                    followers.push(one);
                }
                changed.add(one);
            }
            one.add(element);
        }
        changed.forEach((one) => one.start());
    }

    function begin() {
        followAll();
        new MutationObserver((changes) => {
            /* Our own changes of a bar are some too. */
            if (changes.some((change) => !change.target.closest?.(BARS))) {
                followAll();
            }
        }).observe(document, { childList: true, subtree: true });
    }

    if (document.readyState === "loading") {
        document.addEventListener("DOMContentLoaded", begin);
    } else {
        begin();
    }
})();
