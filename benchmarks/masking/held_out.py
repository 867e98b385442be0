"""The texts that measure: written after the recognisers had been fixed on the two other sets.

No name, template or format of text is shared with `tuning` or `development`. `HELD_OUT` draws names that
are on none of the masker's lists, so that only what stands around them gives them away;
`HELD_OUT_LISTED` draws names that are on its lists, as most names in English texts are.
"""

from dataclasses import replace

from benchmarks.masking.corpus import Sources

HELD_OUT = Sources(
    name="held_out",
    templates=[
        "ED triage 02:10. {name}, brought by ambulance, DOB {dob}, complains of shortness of breath. Sats 91 percent on air.",
        "Thank you for seeing {name}, who has had palpitations since spring. Her date of birth is {dob}.",
        "Radiology report. Patient name: {name}. MRN: {mrn}. Findings: no acute intracranial haemorrhage.",
        "Dear {given},\nyour blood results are normal. Please ring us on {phone} with questions.\nDr {name2}",
        "Mr. {surname} was seen today with his wife {given2}. He continues Ramipril 5 mg and sleeps better.",
        "Patient {name} (hospital ID {mrn}) is {age} years old and lives with her niece in sheltered housing.",
        "Could you summarise this? 'Met {name} at the school gate, told her that the tests can wait.'",
        "I'm {name}, a farmer from Kansas, and I would like to know how drought will change my wheat. Mail {email}.",
        "Hi, {given} here. Can I take Naproxen with Lisinopril? You can text me at {phone}.",
        "Home visit at {address}: Mrs {surname} was found confused, glucose 2.9.",
        "The invoice went to {name}, {address}, although the patient had moved.",
        "Contact person: {name}, daughter, tel. {phone}, e-mail {email}.",
        "Name of patient: {name}\nBorn: {dob}\nInsurance number: {mrn}\nDiagnosis: gout",
        "{reversed}; {dob}; MRN {mrn}; seen for follow up of hypothyroidism, TSH 4.8.",
        "His social security number is {ssn} and his driver is {name}.",
        "NHS {nhs}; next appointment with Professor {surname2} in eight weeks.",
        "Customer wrote: my visa card {card} was charged twice, please call back under {phone}.",
        "Refunds go to IBAN {iban}.",
        "Someone at {ip} downloaded the tracing. See {url} for the account.",
        "Feedback on answer 2: I know this because my brother {name} had exactly this operation in 2019.",
        "The neuron was traced by {name} and checked by {name2} in the second round.",
        "Reviewed with Dr {surname} and the family; {name2} (son) will stay overnight.",
        "hello my name is {lower}, i was born on {dob} and take metformin. should i stop?",
        "NAME: {upper}   SEX: F   BIRTH DATE: {dob}   HOME PHONE: {phone}",
        "Mail the kit to {name}, {address}. Participant ID {mrn}.",
        "Seen by nurse practitioner {name}; supervising physician: {name2}. Patient reports less pain.",
        "My neighbour {name} says the flood of 1987 was worse, and she lives at {address} since birth.",
        "Case number {mrn}: caller {name} asked twice whether the vaccine is safe for a {age}-year-old.",
        "Email thread: {email} wrote to {email} about the wrong date of birth ({dob}).",
        "Her partner, {name}, can be reached at {phone} after six.",
        "Ground round: {given} {surname}, {age} y/o, s/p hip replacement, on Enoxaparin 40 mg.",
        "Signed by {name} on behalf of the clinic, fax {phone}.",
        "This chat is not helpful. I asked about my daughter {given} and you answered about goldfish.",
        "Pathology no {mrn}. Clinician: Dr. {initial}. Polyp, tubular adenoma, low grade.",
        "A researcher, {name}, proposed the same split at this branch point; {surname} was right.",
        "Yours faithfully,\n{name}\n{address}",
        "We discussed {name}'s case at the tumour board: start Tamoxifen, repeat imaging in March.",
    ],
    given=(
        "Ottoline Chukwuemeka Rhiannon Evander Perpetua Dagny Ruairi Thelonius Odalys Bronwyn Ignatius Marlena Halvard"
        " Zuleika Cosmo Tamsin Iolanthe Jarek Nomvula Aurelio Bettina Quentin Shirin Vesna"
    ).split(),
    surnames=(
        "Abernathy Bhattacharya Castellanos Dunleavy Featherstone Gyamfi Hollingsworth Ishikawa Jablonski Kjellberg"
        " Loughlin Mukherjee Nkosi Ostrowski Pettigrew Rasmussen Sepulveda Tremblay Underhill Villanueva Winterbourne"
        " O'Donovan Yeboah Zamorano"
    ).split(),
    streets=[
        "Willow Grove",
        "South Kensington Road",
        "N. Jefferson Ave",
        "Priory Gardens",
        "Cedar Ridge Drive",
        "St. Andrew's Square",
        "West 9th Street",
        "Lavender Hill",
        "Abbey Lane",
        "Sunset Boulevard",
    ],
    towns=[
        ("Boise", "ID", "837##"),
        ("Swansea", "Wales", "SA1 3SN"),
        ("Baton Rouge", "LA", "708##"),
        ("Kingston upon Hull", "East Yorkshire", "HU1 1NQ"),
        ("Salt Lake City", "UT", "841##"),
        ("Halifax", "NS", "B3H 4R2"),
    ],
    hosts=["practice.example.info", "lists.example.ac.uk", "shop.example.biz"],
    birth_formats=[
        "{d}/{m}/{y}",
        "{d:02}.{m:02}.{y}",
        "{d} {b} {y}",
        "{m:02}-{d:02}-{y}",
        "{M} {d} {y}",
        "{y}.{m:02}.{d:02}",
        "{d}-{b}-{yy:02}",
    ],
    phone_formats=[
        "(503) 555-01## ext. 4#",
        "+44 (0)1632 9600##",
        "0131 496 0###",
        "+353 1 555 01##",
        "206-555-01##",
        "503 555 01##",
        "+61 2 5550 1###",
        "07911 1234##",
    ],
    record_formats=["K######", "##-######", "@@@#####", "######/#", "9########"],
    address_formats=[
        "{house} {street}, Suite {flat}, {town} {state} {code}",
        "Flat {flat}, {house} {street}, {town}, {code}",
        "{house} {street}, {town}",
        "{house}a {street}, {town}, {state} {code}",
    ],
    plain=[
        "Global surface temperature was 1.09 C higher in 2011 to 2020 than in 1850 to 1900. Human influence is the main"
        " driver of glacier retreat since the 1990s. Chapter 5 assesses carbon budgets of 400 and 500 Gt CO2.",
        "Sahel rainfall recovered after 1985. The West African Monsoon depends on the Atlantic Nino and on Saharan dust."
        " Models such as HadGEM3 and EC-Earth differ by 20 percent over Burkina Faso, Mali and Niger.",
        "Typhoon Haiyan made landfall at Guiuan on 7 November 2013; Storm Ciara followed in February 2020. The Marshall"
        " Islands and Tuvalu asked the Green Climate Fund for sea walls. Will Venice need the MOSE barrier more often?",
        "The Amazon lost 11,088 square kilometres of forest in 2020. Para and Mato Grosso led. Compare with Borneo, where"
        " palm oil expands, or with the Congo Basin. The response ignores the Cerrado and the Gran Chaco.",
        "In Kyoto the cherry blossom of 26 March 2021 was the earliest since 812. Kew Gardens and Harvard Forest report"
        " similar shifts. Please explain growing degree days with a short example for maize in Iowa.",
        "The Suess effect and the Keeling Curve are described well, but the Stefan-Boltzmann law needs units. Albedo of"
        " fresh snow is 0.85; of ocean 0.06. Budyko's model has two stable states.",
        "Start Apixaban 5 mg twice daily, stop Clopidogrel. CHA2DS2-VASc 4, HAS-BLED 2. Next INR not needed. Holter on"
        " 14/09/2022 showed 3 percent atrial ectopy. Continue Spironolactone 25 mg, potassium 4.6.",
        "Hashimoto thyroiditis, Addison's disease and Sheehan syndrome cause fatigue. Kayser-Fleischer rings suggest"
        " Wilson's disease. A Mallory-Weiss tear bleeds; Zenker's diverticulum does not. Whipple procedure was planned.",
        "The child was born at 38 weeks, weighed 3,120 g, and passed the hearing test. Kawasaki disease was ruled out;"
        " Kernig and Brudzinski signs absent. Give Amoxicillin 45 mg/kg. Vaccines due in October 2023.",
        "Cognitive testing: Montreal Cognitive Assessment 24 of 30, Stroop slow, Trail Making B 142 s. MRI shows Fazekas"
        " grade 2. No Lewy body features. Donepezil 5 mg, then 10 mg after 4 weeks. Barthel index 85.",
        "Emergency Department: Ottawa Ankle Rules positive, Lauge-Hansen type 2. X-ray confirms Weber B fracture. Ward"
        " 7 East accepted. Penicillin allergy. Nil by mouth from midnight, Hartmann's solution 125 ml per hour.",
        "Patient Information: Remdesivir and Paxlovid differ. Doctors advise rest. The Hospital Anxiety and Depression"
        " Scale was 9 and 6. Dear Colleague letters explain the change of 1 April. Ask your Pharmacist about Zinc.",
        "Basket cells, Cajal-Retzius cells and Betz cells differ. Broca's area lies in the left frontal lobe. Sholl"
        " analysis at 10 um steps gave 14 crossings. Voxel size 4 x 4 x 40 nm; ROI starts at (18022, 9931, 1204).",
        "Segment 720575940623636701 was split at supervoxel 83145237912. Proofreading took 35 minutes. FlyWire and"
        " Neuroglancer links were given. Mushroom Body output neurons receive Kenyon cell input; see Figure 3B.",
        "The Hodgkin-Huxley model needs gNa 120, gK 36, gL 0.3 mS per square cm. Reversal potentials were 50, -77 and"
        " -54.4 mV. Poisson noise, Gaussian kernels and the Fano factor are standard; Shannon information in bits.",
        "Nice answer, but too long! Step 3 mixes up Fourier and Laplace. Use Markdown. Could Version 2 also work in"
        " Google Sheets? My budget is 1,200 to 1,500 euros, and delivery should be before 24 December.",
        "I prefer B because it cites sources: Nature 585, 545-550 and Cell 184, 1-15. A says that Hope Bay melted, which"
        " is false. Grade: 3 out of 5. Both should mention Paris, Kyoto and Copenhagen with dates.",
        "Does Mercury orbit faster than Mars? Jupiter has 95 moons. In Star Wars the Force is not physics. The Rolling"
        " Stones tour cut emissions by 30 percent. May I ask a second question about Lake Mead and the Hoover Dam?",
        "Order 48813 has not arrived. I clicked Help Centre, then Track Parcel, on Black Friday. Response time was 2.4 s."
        " Please answer in English or Spanish; Customer Service hours are 9:00 to 17:30, Monday to Friday.",
        "Meeting of the Steering Committee: agree on Work Package 4, Deliverable 4.2, due 31 May 2024. Ethics approval"
        " REC 19/LO/0448 is attached. The Data Safety Board meets in Room 214. Budget line 7 is closed.",
    ],
)

HELD_OUT_LISTED = replace(
    HELD_OUT,
    name="held_out_listed",
    given=(
        "Patricia Ahmad Ivan Lakshmi Diego Hannah Kwame Yuki Tomasz Chiara Rachel Samuel Ngozi Francisco Sunita"
        " Thomas Elizabeth Rose Mark Emma"
    ).split(),
    surnames=(
        "Williams Lopez Gupta Chen Schmidt Hussain Mensah Moreau Suzuki Petrov Thompson Bell Romano Larsen Kaur"
        " Brown Evans Sullivan Mbeki Pereira"
    ).split(),
)
