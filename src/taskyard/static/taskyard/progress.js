/* Bars that move: one event stream for all of a page, and a look every two seconds where there is none.
   Each news of a job is also an event of its element: `taskyard:progress`, with what the server said as its detail. */
(() => {
    "use strict";

    const LOOK_MILLISECONDS = 2000;
    const LONGEST_LOOK_MILLISECONDS = 30000;
    /* Somebody who listens is told of a new state at once, of numbers now and then. */
    const TELL_MILLISECONDS = 10000;
    const MOST_JOBS = 50;

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

    function follow(elements) {
        const byJob = new Map();
        for (const element of elements) {
            const job = element.dataset.job;
            byJob.set(job, [...(byJob.get(job) || []), element]);
        }
        const { lookAt, eventsAt } = elements[0].dataset;
        let pause = LOOK_MILLISECONDS;

        function address(path, jobs) {
            return `${path}?${new URLSearchParams(jobs.map((job) => ["job", job]))}`;
        }

        function tell(said) {
            for (const job of said.jobs) {
                for (const element of byJob.get(job.job) || []) {
                    element.dataset.isFinal = job.is_final ? "yes" : "";
                    show(element, job);
                }
                if (job.is_final) {
                    byJob.delete(job.job);
                }
            }
            setAgain(elements, true);
        }

        async function look() {
            if (byJob.size === 0) {
                return;
            }
            try {
                const answer = await fetch(address(lookAt, [...byJob.keys()]), { redirect: "error" });
                if (answer.status === 404 || answer.status === 403) {
                    setAgain(elements, false);
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

        const source = new EventSource(address(eventsAt, [...byJob.keys()]));
        source.addEventListener("progress", (event) => tell(JSON.parse(event.data)));
        source.addEventListener("end", () => source.close());
        source.addEventListener("error", () => {
            /* A stream that ended is opened again by the browser; one that was refused is not. */
            if (source.readyState === EventSource.CLOSED) {
                look();
            }
        });
    }

    document.addEventListener("DOMContentLoaded", () => {
        const elements = [...document.querySelectorAll(".taskyard-progress[data-job]")];
        for (let first = 0; first < elements.length; first += MOST_JOBS) {
            follow(elements.slice(first, first + MOST_JOBS));
        }
    });
})();
